"""The choices of the group `loss`: each returns a function of outputs and targets. Read `losses`."""
