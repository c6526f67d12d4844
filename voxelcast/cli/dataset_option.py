"""``--dataset KIND:ROOT|FILE``, as several commands take it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voxelcast.core.errors import OptionError

if TYPE_CHECKING:
    from voxelcast.datasets.base import Dataset


def open_dataset(source: str, settings: Sequence[str] = ()) -> Dataset:
    """Open the dataset of ``KIND:ROOT`` or of an experiment file."""
    from voxelcast.datasets.registry import DATASETS
    from voxelcast.experiment.builders import build_dataset
    from voxelcast.experiment.config_file import load_config, parse_dataset

    kind, _, root = source.partition(":")
    if kind in DATASETS and root:
        return build_dataset(parse_dataset(kind, Path(root), settings))
    if Path(source).suffix not in (".yaml", ".yml"):
        raise OptionError(
            f"--dataset must be KIND:ROOT with KIND one of {', '.join(sorted(DATASETS))}, or an experiment's .yaml; "
            f"got {source!r}"
        )
    return build_dataset(load_config(Path(source), settings).dataset)
