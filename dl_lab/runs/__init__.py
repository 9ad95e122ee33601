"""The run folder: what writes it, what reads it, and how a run is continued from it.

Read `logger` first, then `reader`.
"""
