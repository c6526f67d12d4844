"""What a package that adds to voxelcast tests itself with: conformance suites and miniatures of data sets."""
