"""The run folder: everything that writes it, reads it, and continues a run from it.

Read `logger.py` first, then `reader.py`; `identity.py` says which runs are runs of the same configuration.
"""
