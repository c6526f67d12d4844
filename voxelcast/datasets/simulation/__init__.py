"""Simulated videos and responses with a known truth."""
