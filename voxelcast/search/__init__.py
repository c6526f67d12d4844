"""Folds, exact paths, Bayesian optimisation, nested cross-validation, selection."""
