"""Encoders that learn where and what each voxel reads: trained by gradient descent, one training for each fold."""
