"""What every other package stands on: errors, random numbers, devices, files, signals.

Read `errors` first, then `rng`.
"""
