"""What becomes of activations: pooling over time, feature matrices on disk, exact principal components."""
