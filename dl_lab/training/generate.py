"""Generate text with a language model, one character at a time."""

import torch
from torch import nn

from dl_lab.core import rng
from dl_lab.data.spec import DataSpec


@torch.inference_mode()
def sample_text(model: nn.Module, spec: DataSpec, seed: int, step: int, length: int = 200) -> str:
    """Draw `length` characters at temperature 1, after a line break (or the first character of the vocabulary)."""
    (head,), (context,) = spec.heads, spec.input_shape
    device = next(model.parameters()).device
    start = head.labels.index("\n") if "\n" in head.labels else 0
    tokens = torch.tensor([[start]], device=device)
    random = rng.generator(seed, "sample", step)
    model.eval()
    for _ in range(length):
        logits = model(tokens[:, -context:])[:, -1].float().cpu()
        drawn = torch.multinomial(logits.softmax(dim=-1), 1, generator=random)
        tokens = torch.cat([tokens, drawn.to(device)], dim=1)
    model.train()
    return "".join(head.labels[token] for token in tokens[0, 1:].tolist())
