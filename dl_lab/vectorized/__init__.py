"""Training of many runs as one stack; can be skipped at first reading.

Read `loop` beside `training.loop`, then `engine`.
"""
