"""Optimizers: every one of torch.optim that trains dense parameters."""
