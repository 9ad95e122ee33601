"""A laboratory for deep learning: every idea is an experiment that one command runs."""

__version__ = "0.1.0"
