"""Functions that models share: activations with their gains. Read `activations` first."""
