"""Deep learning on PyTorch: one command trains any model on your data.

Read README.md in this folder first, then `train`.
"""

__version__ = "0.1.0"
