"""The choices of the group `dataset`; each builder returns `Data`.

Read `generated` first, then `table` (tables in memory) and `table_file` (files of users).
"""
