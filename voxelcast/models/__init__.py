"""Saved encoding models: card, loading, prediction."""
