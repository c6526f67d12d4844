"""Readers of the files that responses, masks and dissimilarities come in."""
