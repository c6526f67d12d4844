"""The steps of an experiment, one file each."""
