"""Figures for TensorBoard and reports, drawn without pyplot. Read `figures` first."""
