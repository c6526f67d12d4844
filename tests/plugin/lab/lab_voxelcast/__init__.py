"""What a lab adds to voxelcast: a dataset, a network, a pool over time and a challenge."""
