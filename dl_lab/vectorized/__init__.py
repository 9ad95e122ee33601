"""Training of many runs as one stack; can be skipped at first reading.

Read `loop` together with `training.loop`, then `engine`.
"""
