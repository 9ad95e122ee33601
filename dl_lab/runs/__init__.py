"""The run folder: everything that writes it, reads it, and continues a run from it.

Read `logger` first, then `reader`; `identity` says which runs have the same configuration.
"""
