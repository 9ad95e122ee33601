"""The choices of the group `schedule`: each returns the factor on lr as a function of the step. Read `schedules`."""
