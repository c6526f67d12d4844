"""Labelled images: a folder with one folder of images per class."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import ByteArray
from voxelcast.core.errors import DataError, MissingFileError, OptionError
from voxelcast.core.seeds import generator
from voxelcast.stimuli.images import read_image
from voxelcast.stimuli.stimulus import IMAGE_SUFFIXES, Stimulus


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
        stimuli, labels_ = tuple(self.stimuli[k] for k in kept), tuple(self.labels[k] for k in kept)
        return replace(self, stimuli=stimuli, labels=labels_)

    def read(self, indices: Sequence[int], workers: int) -> Iterator[ByteArray]:
        """Read images by index, in their order, in threads, a few ahead.

        Raises StimulusError for an image that cannot be read.
        """
        with ThreadPoolExecutor(workers) as pool:
            # In stretches, so that no more than one of them is in memory.
            for start in range(0, len(indices), 4 * workers):
                yield from pool.map(read_image, [self.stimuli[k] for k in indices[start : start + 4 * workers]])


def list_image_folder(folder: Path, class_map: Path | None = None) -> LabelledImages:
    """List the images of a folder with one sub-folder per class (``FOLDER/CLASS/IMAGE``, also in folders below).

    ``class_map`` is a JSON file: ``{"folder name": class index}``; None numbers the sorted folders from 0, as
    torchvision does.

    Raises
    ------
    MissingFileError
        If the folder or the map does not exist.
    DataError
        If there are no class folders, one of them has no image, or the map is no map of all of them.
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
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, IsADirectoryError) as error:
        raise MissingFileError(f"class map {path} does not exist; write one: {{'folder name': index}}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"class map {path} is not JSON ({error}); write {{'folder name': index}}") from error
    whole = isinstance(content, dict) and all(type(k) is int and k >= 0 for k in content.values())
    if not whole:
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
