"""Sweeps: the jobs, the launchers that run them, the searches that propose them, and the manifest.

Read `sweep` first, then `job`.
"""
