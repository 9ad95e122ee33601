"""A sweep: its jobs, the launchers that run them, the search that chooses them, and its manifest.

Read `sweep` first, then `job`.
"""
