"""The computations, tables and figures behind `python -m dl_lab.compare`.

Read `comparison` first, then `statistics` and `report`.
"""
