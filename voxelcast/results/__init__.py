"""The tables and arrays that an experiment leaves: one schema, for writing and reading."""
