"""Encoding models: pure solvers under thin estimators."""
