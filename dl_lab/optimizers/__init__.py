"""The choices of the group `optimizer`: torch's optimizers for dense parameters. Read `sgd` first."""
