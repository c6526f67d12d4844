"""A first experiment file for a folder that was looked at."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import yaml

from voxelcast.core.errors import VoxelcastError
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.folder import FolderDataset
from voxelcast.datasets.folder_settings import FolderSettings
from voxelcast.datasets.inventory import take_inventory
from voxelcast.datasets.registry import DATASETS, list_datasets
from voxelcast.experiment.settings_file import parse_dataset
from voxelcast.search.settings import FoldSettings
from voxelcast.stimuli.stimulus import VIDEO_SUFFIXES

_ORDERS = (("stimulus", "voxel"), ("voxel", "stimulus"))
_REPEATED = ("stimulus", "repetition", "voxel")
"""Of responses with repetitions: any order may be, and this one is tried first."""


def first_experiment(root: Path, name: str) -> str:
    """Look at a folder of stimuli and responses, and return the text of an experiment file for it, with comments.

    The first kind of dataset whose files are all there is taken; else `FolderDataset`, with the order of axes that
    fits, repetitions being fewer than voxels. Which row is which stimulus is never guessed.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    name : str
        The experiment's name.

    Raises
    ------
    VoxelcastError
        What keeps the folder from being read, in the words of `FolderDataset`.
    """
    dataset, said = _complete_kind(root) or _own_folder(root)
    n_train, n_test = len(dataset.train_stimuli), len(dataset.test_stimuli)
    videos = any(stimulus.path.suffix.lower() in VIDEO_SUFFIXES for stimulus in dataset.train_stimuli)
    lines = [
        f"# {n_train} training and {n_test} held-out stimuli; next: voxelcast run FILE --dry-run",
        *(f"# {subject}: {dataset.extent(subject).shown()}" for subject in dataset.subjects),
        f"name: {name}",
        f"dataset: {yaml.safe_dump(said, default_flow_style=True, sort_keys=False, width=10_000).strip()}",
        "networks: # others: voxelcast networks list; their layers: voxelcast networks layers NAME",
        "  - {name: torchvision/resnet18, weights: default, layers: [layer1, layer2, layer3, layer4]}",
        *(["frames: {every: 2} # of each video; their features are averaged"] if videos else []),
        "compress: {method: pca, components: 50} # estimated again in the training part of every fold",
        "encoders: [pls, ridge] # others: voxelcast encoders list",
        f"folds: {{n: {FoldSettings().number(n_train)}, nested: true}} # scores come from folds that no choice saw",
    ]
    return "\n".join(lines) + "\n"


def _complete_kind(root: Path) -> tuple[Dataset, dict[str, object]] | None:
    """Open the folder as a kind with a fixed layout, if all of its files are there."""
    for kind in list_datasets("*"):
        cls = DATASETS.get(kind)
        try:
            settings = parse_dataset(kind, root, ())
            if (expected := cls.expected_files(settings)) and take_inventory(expected).complete:
                return cls(settings), {"kind": kind, "root": str(root)}
        except VoxelcastError:
            continue
    return None


def _own_folder(root: Path) -> tuple[Dataset, dict[str, object]]:
    """Open a folder of the user's own with the axes that fit; raises what is wrong with the plainest ones."""
    first: VoxelcastError | None = None
    for axes in (*_ORDERS, *permutations(_REPEATED)):
        try:
            dataset = FolderDataset(FolderSettings(root, axes=axes))
        except VoxelcastError as error:
            first = first or error
            continue
        extents = map(dataset.extent, dataset.subjects)
        if len(axes) == 2 or all((one.n_repetitions or 1) <= sum(one.voxels.values()) for one in extents):
            return dataset, {"kind": "folder", "root": str(root), "axes": list(axes)}
    assert first is not None
    raise first
