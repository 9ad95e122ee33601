"""What a dataset gives to a run: its description (`DataSpec`), its splits and its batches.

Read `spec` first, then `dataset`.
"""
