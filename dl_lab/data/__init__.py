"""A dataset as a run uses it: its description (`DataSpec`), its splits, batches and augmentation.

Read `spec` first, then `dataset`. The package `tables` reads tables from files and divides them.
"""
