"""Functions that models share: activations with their gains, attention, cross-entropy. Read `activations` first."""
