"""Experiments: run one, read it, see its claim."""
