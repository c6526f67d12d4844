"""Videos and images: what they are, decoding, sampling of frames."""
