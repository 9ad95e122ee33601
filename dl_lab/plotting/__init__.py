"""Figures for TensorBoard and for reports, drawn without pyplot. Read `figures` first."""
