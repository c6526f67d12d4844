"""Predict fMRI responses to videos and images from the features of deep networks, and say honestly how well."""

__version__ = "0.1.0"
