"""Metrics, noise ceilings, intervals."""
