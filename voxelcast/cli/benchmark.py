"""``voxelcast benchmark``: speed, both sides in one run."""
import click
@click.group()
def benchmark() -> None:
    """Speed, both sides in one run."""
