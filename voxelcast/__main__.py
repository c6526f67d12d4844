"""``python -m voxelcast``: the command line."""

from voxelcast.cli.main import main

if __name__ == "__main__":
    main()
