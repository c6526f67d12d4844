"""From an opened experiment to steps: a module for each part of the work."""
