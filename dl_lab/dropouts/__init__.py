"""Dropouts."""
