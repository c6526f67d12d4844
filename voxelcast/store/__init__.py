"""Keys, atomic writes, provenance, arrays on disk."""
