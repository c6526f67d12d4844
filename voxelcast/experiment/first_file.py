"""A first experiment file for a folder that was looked at."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from math import ceil
from pathlib import Path

import yaml

from voxelcast.core.errors import VoxelcastError
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.bids import entity, is_bids, look_at_bids
from voxelcast.datasets.folder import FolderDataset
from voxelcast.datasets.folder_settings import FolderSettings
from voxelcast.datasets.inventory import take_inventory
from voxelcast.datasets.registry import DATASETS, dataset_settings, list_datasets, open_dataset
from voxelcast.experiment.settings_file import parse_dataset
from voxelcast.search.settings import FoldSettings
from voxelcast.stimuli.stimulus import VIDEO_SUFFIXES

_ORDERS = (("stimulus", "voxel"), ("voxel", "stimulus"))
_REPEATED = ("stimulus", "repetition", "voxel")
"""Of responses with repetitions: any order may be, and this one is tried first."""


def first_experiment(root: Path, name: str) -> str:
    """Look at a folder of stimuli and responses, and return the text of an experiment file for it, with comments.

    The first kind of dataset whose files are all there is taken; of a BIDS study what `look_at_bids` finds; else
    `FolderDataset`, with the order of axes that fits, repetitions being fewer than voxels. Which row is which stimulus
    is never guessed.

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
    dataset, said, comments = _complete_kind(root) or _bids_folder(root) or _own_folder(root)
    n_train, n_test = len(dataset.train_stimuli), len(dataset.test_stimuli)
    n_folds = FoldSettings().number(n_train)
    # Below the number of stimuli in the smallest part that they are estimated in, which lacks two folds.
    components = min(50, n_train - 2 * ceil(n_train / n_folds) - 1)
    lines = [
        f"# {n_train} training and {n_test} held-out stimuli; next: voxelcast run FILE --dry-run",
        *(f"# {subject}: {dataset.extent(subject).shown()}" for subject in dataset.subjects),
        f"name: {name}",
        *_section(said, comments),
    ]
    if dataset.can_be_shown:
        videos = any(stimulus.path.suffix.lower() in VIDEO_SUFFIXES for stimulus in dataset.train_stimuli)
        lines += [
            "networks: # others: voxelcast networks list; their layers: voxelcast networks layers NAME",
            "  - {name: torchvision/resnet18, weights: default, layers: [layer1, layer2, layer3, layer4]}",
            *(["frames: {every: 2} # of each video; their features are averaged"] if videos else []),
            f"compress: {{method: pca, components: {components}}} # estimated again in the training part of every fold",
            "encoders: [pls, ridge] # others: voxelcast encoders list",
            f"folds: {{n: {n_folds}, nested: true}} # scores come from folds that no choice saw",
        ]
    else:
        lines += [
            f"features: [{dataset.feature_tables[0]}] # of the events; movies: PATTERN above lets networks look",
            "delays: [1, 2, 3, 4, 5, 6] # in TR",
            "compress: {method: none}",
            "encoders: [ridge] # others: voxelcast encoders list",
            "folds: {by: group, nested: true} # leave one run out; scores come from folds that no choice saw",
        ]
    return "\n".join(lines) + "\n"


def _section(said: Mapping[str, object], comments: Mapping[str, str]) -> list[str]:
    """Write the section ``dataset``: in one line, or in a line a setting where there is something to say of them."""
    if not comments:
        return [f"dataset: {yaml.safe_dump(said, default_flow_style=True, sort_keys=False, width=10_000).strip()}"]
    lines = ["dataset:"]
    for setting, value in said.items():
        text = yaml.safe_dump([value], default_flow_style=True, width=10_000).strip()[1:-1]
        lines.append(f"  {setting}: {text}" + (f" # {comments[setting]}" if comments.get(setting) else ""))
    return lines


_Found = tuple[Dataset, dict[str, object], dict[str, str]]
"""A dataset, its settings, and comments on them."""


def _bids_folder(root: Path) -> _Found | None:
    """Open a BIDS study; raises what is wrong with it."""
    if not is_bids(root):
        return None
    found = look_at_bids(root)
    said = {"kind": found.kind, "root": str(root), **found.values}
    dataset = open_dataset(dataset_settings(said))
    return dataset, said, {"kind": f"a BIDS study of {_counts(dataset, root)}", **found.comments}


def _counts(dataset: Dataset, root: Path) -> str:
    """Say which subjects, sessions and tasks there are."""
    sessions = sorted({path.name for path in root.glob("sub-*/ses-*")})
    tasks = sorted({entity(path.name, "task") for path in root.glob("sub-*/**/func/*_task-*")})
    parts = [f"{len(dataset.subjects)} subjects"]
    parts += [f"sessions {', '.join(sessions)}"] if sessions else []
    parts += [f"task {', '.join(tasks)}"] if tasks else []
    return "; ".join(parts)


def _complete_kind(root: Path) -> _Found | None:
    """Open the folder as a kind with a fixed layout, if all of its files are there."""
    for kind in list_datasets("*"):
        cls = DATASETS.get(kind)
        try:
            settings = parse_dataset(kind, root, ())
            if (expected := cls.expected_files(settings)) and take_inventory(expected).complete:
                return cls(settings), {"kind": kind, "root": str(root)}, {}
        except VoxelcastError:
            continue
    return None


def _own_folder(root: Path) -> _Found:
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
            return dataset, {"kind": "folder", "root": str(root), "axes": list(axes)}, {}
    assert first is not None
    raise first
