"""Training of one run: plan, state, loop, tasks, and the lifecycle around the loop. Read `loop` first, then `setup`."""
