"""Checks of trained experiments that YAML cannot express, and figures of their runs."""
