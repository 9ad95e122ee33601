"""Helpers of the concept programs and of `reproduce`; start with `findings.py`, then `claims.py`."""
