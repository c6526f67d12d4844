"""Deep networks and built-in filter banks: registry, weights, layers, extraction. torch lives here."""
