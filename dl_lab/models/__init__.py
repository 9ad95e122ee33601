"""The choices of the group `model`, one model per file. Read `mlp` first."""
