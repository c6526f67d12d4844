"""Errors, checks, seeds and progress: what every other room stands on. NumPy only."""
