"""Functions that models share: activations and their gains, attention, cross-entropy. Read `activations` first."""
