"""Experiments, each with a claim that is checked; README.md lists them in learning order."""
