"""Initialisers of weights and biases."""
