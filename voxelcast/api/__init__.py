"""The functions that ``import voxelcast`` offers: labelled arrays in and out, and what joins several rooms."""
