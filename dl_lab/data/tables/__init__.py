"""Tables from files: reading, types, encoding and division."""
