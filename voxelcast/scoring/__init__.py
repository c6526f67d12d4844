"""Metrics, noise ceilings, bootstrap intervals."""
