"""Training one run: the plan, the state, the loop, the lifecycle around it. Read `loop` first, then `setup`."""
