"""Models: one entry, or one close family, a file."""
