"""Running the steps of an experiment."""
