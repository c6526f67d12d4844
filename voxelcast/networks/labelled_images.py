"""Labelled images: a folder with one folder of images per class, and how often a network names their class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from voxelcast.core.arrays import ByteArray
from voxelcast.core.errors import DataError, MissingFileError, OptionError
from voxelcast.core.progress import SILENT, Progress
from voxelcast.core.seeds import generator
from voxelcast.networks.base import Network
from voxelcast.networks.module_network import ModuleNetwork
from voxelcast.stimuli.images import read_image
from voxelcast.stimuli.stimulus import IMAGE_SUFFIXES, Stimulus
from voxelcast.store.readers.plain import read_json


@dataclass(frozen=True)
class LabelledImages:
    """Images with the index of their class.

    ``classes`` gives the index of each folder, and ``mapped`` is whether a class map gave the indices.
    """

    stimuli: tuple[Stimulus, ...]
    labels: tuple[int, ...]
    classes: dict[str, int]
    mapped: bool = False

    def __len__(self) -> int:
        return len(self.stimuli)

    def fraction(self, fraction: float, seed: int) -> LabelledImages:
        """Keep a fraction (above 0, at most 1) of each class' images, at least one, drawn by seed."""
        if not 0 < fraction <= 1:
            raise OptionError(f"fraction must be above 0 and at most 1; got {fraction}")
        labels = np.array(self.labels)
        kept: list[int] = []
        for name, index in sorted(self.classes.items()):
            rows = np.flatnonzero(labels == index)
            n = max(1, round(fraction * len(rows)))
            kept += generator(seed, "finetune", "fraction", name).permutation(rows)[:n].tolist()
        kept.sort()
        return replace(self, stimuli=tuple(self.stimuli[k] for k in kept), labels=tuple(self.labels[k] for k in kept))

    def read(self, indices: Sequence[int], workers: int) -> Iterator[ByteArray]:
        """Read images by index, in their order, in threads, a few ahead.

        Raises StimulusError for an image that cannot be read.
        """
        with ThreadPoolExecutor(workers) as pool:
            # In stretches, so that no more than one of them is in memory.
            for start in range(0, len(indices), 4 * workers):
                yield from pool.map(read_image, [self.stimuli[k] for k in indices[start : start + 4 * workers]])

    def check_scores(self, scores: object, network: str) -> torch.Tensor:
        """Return the scores if they are (n_images, n_classes) and have a class for each label, else raise an error."""
        if not isinstance(scores, torch.Tensor) or scores.ndim != 2:
            raise OptionError(f"'{network}' must put out one score per class; choose a network that classifies")
        if not self.mapped and len(self.classes) != scores.shape[1]:
            raise DataError(
                f"'{network}' tells {scores.shape[1]} classes apart, but there are {len(self.classes)} class folders; "
                "give a class map: a JSON file of {folder name: class index}"
            )
        name, largest = max(self.classes.items(), key=lambda item: item[1])
        if largest >= scores.shape[1]:
            raise DataError(
                f"class {name!r} has index {largest}, but '{network}' tells {scores.shape[1]} classes apart; "
                "correct the class map"
            )
        return scores


def list_image_folder(folder: Path, class_map: Path | None = None) -> LabelledImages:
    """List the images of a folder with one sub-folder per class (``FOLDER/CLASS/IMAGE``, also in folders below).

    ``class_map`` is a JSON file: ``{"folder name": class index}``; None numbers the sorted folders from 0, as
    torchvision does. Raises MissingFileError if the folder or the map does not exist; DataError if there are no class
    folders, one of them has no image, or the map is no map of all of them.
    """
    if not folder.is_dir():
        raise MissingFileError(f"image folder {folder} does not exist; give a folder with one folder per class")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise DataError(f"image folder {folder} must hold one folder of images per class; got none")
    classes = dict(zip(names, range(len(names)), strict=True)) if class_map is None else _read_map(class_map, names)
    stimuli: list[Stimulus] = []
    labels: list[int] = []
    for name in names:
        paths = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        paths = [path for path in paths if path.is_file() and not path.name.startswith(".")]
        if not paths:
            raise DataError(f"class folder {folder / name} holds no image; remove it, or put images there")
        stimuli += [Stimulus(path.relative_to(folder).as_posix(), path) for path in paths]
        labels += [classes[name]] * len(paths)
    return LabelledImages(tuple(stimuli), tuple(labels), classes, class_map is not None)


def _read_map(path: Path, names: Sequence[str]) -> dict[str, int]:
    content = read_json(path, "class map", "write {'folder name': index}")
    if not isinstance(content, dict) or not all(type(k) is int and k >= 0 for k in content.values()):
        raise DataError(f"class map {path} must map folder names to class indices from 0; got something else")
    unknown = [name for name in names if name not in content]
    if unknown:
        raise DataError(
            f"class map {path} must name every class folder; {len(unknown)} of {len(names)} are not in it "
            f"(first {unknown[0]!r}); add them, or remove those folders"
        )
    twice = [name for name in names if [content[other] for other in names].count(content[name]) > 1]
    if twice:
        raise DataError(f"class map {path} must give each folder an index of its own; got {content[twice[0]]} twice")
    return {name: content[name] for name in names}


@dataclass(frozen=True)
class Accuracy:
    """Share of images whose class has the highest score (top1) or one of the five highest (top5).

    With no more than five classes, of the ``n_classes`` that the network tells apart, top5 is 1.
    """

    top1: float
    top5: float
    n_images: int
    n_classes: int


def validate(
    network: Network, images: LabelledImages, *, batch: int = 32, workers: int = 2, progress: Progress = SILENT
) -> Accuracy:
    """Measure top-1 and top-5 accuracy of a network whose output is one score per class.

    Images are prepared as for extraction (resized to a square without a crop), so this is the accuracy of the network
    whose features are used; published numbers are for a central crop and differ by about a percent. Raises OptionError
    if the network takes clips or puts out no scores; DataError if a label is no class of the network; StimulusError for
    an image that cannot be read.
    """
    if not isinstance(network, ModuleNetwork) or network.card.takes != "frames":
        raise OptionError(f"'{network.card.name}' cannot be validated: it does not classify images one by one")
    progress.start(f"validate {network.card.name}", len(images), "image")
    hits = {1: 0, 5: 0}
    n_classes = 0
    labels = torch.tensor(images.labels)
    pictures = images.read(range(len(images)), workers)
    for start in range(0, len(images), batch):
        right = labels[start : start + batch]
        prepared = torch.cat([network.prepare(next(pictures)[None]) for _ in right])
        scores = images.check_scores(network.output(prepared), network.card.name).cpu()
        n_classes = scores.shape[1]
        # Ties are told apart by index, so that the result is the same everywhere.
        order = scores.argsort(dim=1, descending=True, stable=True)
        for k in hits:
            hits[k] += int((order[:, :k] == right[:, None]).any(1).sum())
        progress.advance(len(right))
    progress.finish()
    return Accuracy(hits[1] / len(images), hits[5] / len(images), len(images), n_classes)
