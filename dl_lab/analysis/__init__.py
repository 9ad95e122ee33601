"""The computations and figures behind `python -m dl_lab.compare`. Read `comparison` first, then `statistics`."""
