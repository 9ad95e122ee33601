"""What all other packages use: errors, random streams, devices, atomic files, signals, progress.

Read `errors` first, then `rng`.
"""
