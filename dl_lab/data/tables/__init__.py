"""Tables from files: reading, types, encoding and division into splits. Read `reading` first, then `partition`."""
