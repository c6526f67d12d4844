"""Encoders that learn what voxels read, and where, and a representation: trained with torch, on one subject or many."""
