"""``--dataset KIND:ROOT|FILE``, as several commands take it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voxelcast.core.errors import OptionError

if TYPE_CHECKING:
    from voxelcast.datasets.base import Dataset


DATASET = "KIND:ROOT|FILE"
"""How the option is shown."""


def open_datasets(sources: Sequence[str], settings: Sequence[str] = ()) -> list[Dataset]:
    """Open the datasets of several ``KIND:ROOT`` or experiment files.

    ``algonauts2023:ROOT``, whose datasets are of one subject each, stands for all subjects that ROOT holds.
    """
    return [dataset for source in sources for dataset in _open(source, settings)]


def open_dataset(source: str, settings: Sequence[str] = ()) -> Dataset:
    """Open the dataset of one ``KIND:ROOT`` or experiment file.

    Raises
    ------
    OptionError
        Where it is neither, or stands for several.
    """
    found = _open(source, settings)
    if len(found) > 1:
        subjects = ", ".join(dataset.subjects[0] for dataset in found)
        raise OptionError(f"{source} holds several subjects ({subjects}); name an experiment file, which has one")
    return found[0]


def _open(source: str, settings: Sequence[str]) -> list[Dataset]:
    from voxelcast.datasets.formats.algonauts2023_layout import SUBJECTS
    from voxelcast.datasets.registry import DATASETS
    from voxelcast.experiment.builders import build_dataset
    from voxelcast.experiment.settings_file import load_config, parse_dataset

    kind, _, root = source.partition(":")
    if kind in DATASETS and root:
        each = [list(settings)]
        if kind == "algonauts2023" and not any(text.startswith("subject=") for text in settings):
            there = [subject for subject in SUBJECTS if (Path(root) / subject).is_dir()]
            each = [[*settings, f"subject={subject}"] for subject in there] or each
        return [build_dataset(parse_dataset(kind, Path(root), choice)) for choice in each]
    if Path(source).suffix not in (".yaml", ".yml"):
        raise OptionError(
            f"--dataset must be KIND:ROOT with KIND one of {', '.join(sorted(DATASETS))}, or an experiment's .yaml; "
            f"got {source!r}"
        )
    return [build_dataset(load_config(Path(source), settings).dataset)]
