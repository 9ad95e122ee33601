"""The run folder: what writes it, what reads it, and how a run is resumed from it.

Read `logger` first, then `reader`.
"""
