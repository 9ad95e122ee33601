"""Speed of dl_lab relative to hand-written loops, PyTorch Lightning and nanoGPT; start with `speed.py`."""
