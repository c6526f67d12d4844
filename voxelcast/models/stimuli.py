"""What is given to a saved model: files, frames in memory, or features that are ready."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from voxelcast.core.arrays import ByteArray, FloatArray
from voxelcast.core.checks import check_finite
from voxelcast.core.errors import AlignmentError, DataError, OptionError, StimulusError
from voxelcast.models.card import LayerCard
from voxelcast.networks.streams import read_texts
from voxelcast.stimuli.listing import is_media, listed_stimuli
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.readers.arrays import open_npy, read_npz

_VOLUME: Final = re.compile(r"(.+)/tr(\d{1,9})")
_NEARLY: Final = 1e-3  # of a volume


@dataclass(frozen=True, eq=False)
class Shown:
    """Stimuli by their ids: as ``files``, as ``frames`` (n_frames, height, width, 3), or as ready ``features``.

    Ready features are arrays (n_stimuli, ...) by the layers' keys; ``texts``, by the ids, are what networks read.
    """

    ids: tuple[str, ...]
    files: tuple[Stimulus, ...] = ()
    frames: Sequence[ByteArray] = ()
    features: Mapping[str, FloatArray] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)

    def reading(self, texts: str | Path | Mapping[str, str]) -> Shown:
        """Return them with texts, of a table or by their ids; raises AlignmentError where one has none."""
        if isinstance(texts, str | Path):
            return replace(self, texts=read_texts(Path(texts), self.ids))
        missing = [name for name in self.ids if not texts.get(name)]
        if missing:
            raise AlignmentError(
                f"texts must have one of each stimulus; {len(missing)} have none (first {missing[0]!r})"
            )
        return replace(self, texts={name: texts[name] for name in self.ids})


def shown(given: Any, layers: Mapping[str, LayerCard], tr: float | None = None) -> Shown:
    """Understand stimuli as a user gives them.

    ``layers`` are those that are needed, by key; ``tr`` the seconds of a volume, into which movies are cut. Raises
    OptionError, MissingFileError, DataError, ShapeError or AlignmentError in one line for what cannot be understood or
    does not fit.
    """
    if isinstance(given, Shown):
        return given
    if isinstance(given, str | Path):
        path = Path(given)
        if path.suffix in (".csv", ".tsv") and path.is_file():
            return _of_texts(read_texts(path))
        found = _ready_in(path)
        if found is not None:
            return _ready(*found, layers)
        return _of_files([path] if path.is_file() and is_media(path.name) else path, tr)
    if isinstance(given, np.ndarray) and given.dtype == np.uint8 and given.ndim >= 4:
        return Shown(tuple(map(str, range(len(given)))), frames=[np.asarray(one) for one in given])
    if isinstance(given, np.ndarray):
        return _ready({"": given}, None, layers)
    if isinstance(given, Mapping) and given:
        if all(isinstance(one, str) for one in given.values()):
            return _of_texts({str(name): one for name, one in given.items()})
        if all(getattr(one, "dtype", None) == np.uint8 for one in given.values()):
            return Shown(tuple(map(str, given)), frames=[np.asarray(one) for one in given.values()])
        return _ready({str(name): one for name, one in given.items()}, _ids_of(given), layers)
    return _of_files(given, tr)


def _of_files(given: Any, tr: float | None) -> Shown:
    files = listed_stimuli(given)
    if tr is not None:
        files = tuple(volume for file in files for volume in _volumes(file, tr))
    texts = {one.stimulus_id: one.text for one in files if one.text is not None}
    return Shown(tuple(one.stimulus_id for one in files), files, texts=texts)


def _of_texts(texts: Mapping[str, str]) -> Shown:
    return Shown(tuple(texts)).reading(texts)


def _volumes(file: Stimulus, tr: float) -> list[Stimulus]:
    """Cut a movie into the volumes (TR) that begin before it ends; a picture, or a part, is one volume."""
    if file.is_image or file.seconds is not None:
        return [file]
    from voxelcast.stimuli.container import claimed_seconds

    seconds = claimed_seconds(file)
    if seconds is None:
        raise StimulusError(f"{file.name}: how long it lasts cannot be read, so it has no volumes (TR); give an .mp4")
    return [file.volume(number, tr) for number in range(max(math.ceil(seconds / tr - _NEARLY), 1))]


def run_places(ids: Sequence[str]) -> list[tuple[str, int]]:
    """Return the run and the place in it of volumes by their ids, ``<run>/tr<number>``; of others: one run, in order.

    Raises AlignmentError where only some are named so.

    >>> run_places(["a/tr0000", "b/tr0003"]), run_places(["x", "y"])
    ([('a', 0), ('b', 3)], [('', 0), ('', 1)])
    """
    found = [_VOLUME.fullmatch(name) for name in ids]
    if any(found) and not all(found):
        other = ids[found.index(None)]
        raise AlignmentError(f"volumes must all be named <run>/tr<number>, or none of them; got {other!r} among them")
    return [(one[1], int(one[2])) if one else ("", place) for place, one in enumerate(found)]


def _ids_of(given: Mapping[Any, Any]) -> tuple[str, ...] | None:
    """Return the ids that labelled arrays have; raises AlignmentError where they differ."""
    named = [
        tuple(map(str, one.coords["stimulus"].values))
        for one in given.values()
        if "stimulus" in getattr(one, "coords", {})
    ]
    if len(set(named)) > 1:
        raise AlignmentError("the features' stimulus ids differ between layers; give all in the same order")
    return named[0] if named else None


def _ready_in(path: Path) -> tuple[dict[str, Any], tuple[str, ...] | None] | None:
    """Read ready features: an .npz of arrays by layer, one .npy, or a folder of ``voxelcast extract``."""
    if path.suffix == ".npz" and path.is_file():
        arrays = read_npz(path, "features")
        named = arrays.pop("stimulus_ids", None)
        return dict(arrays), None if named is None else tuple(map(str, named))
    if path.suffix == ".npy" and path.is_file():
        return {"": open_npy(path, "features")}, None
    if path.is_dir() and (path / "stimuli.csv").is_file() and (path / "settings.json").is_file():
        import csv

        with (path / "stimuli.csv").open(newline="", encoding="utf-8") as file:
            ids = tuple(row["stimulus_id"] for row in csv.DictReader(file) if not row.get("broken"))
        return {one.stem: open_npy(one, "features") for one in sorted(path.glob("*.npy"))}, ids
    return None


def _ready(given: Mapping[str, Any], ids: tuple[str, ...] | None, layers: Mapping[str, LayerCard]) -> Shown:
    """Give each layer its features, by its key, its whole name or the layer's own name."""
    features: dict[str, FloatArray] = {}
    for key, card in layers.items():
        if card.members:
            continue
        names = [key, card.name, card.name.replace(" ", "/"), card.layer]
        found = next((name for name in names if name in given), "" if "" in given and len(layers) == 1 else None)
        if found is None:
            there = ", ".join(list(given)[:6])
            raise OptionError(
                f"ready features must have those of layer {card.name} ({key}), which the model weighs; got {there}"
            )
        values = np.asarray(given[found])
        if values.dtype.kind not in "fiu" or values.ndim < 2:
            raise DataError(f"features of {card.name} must be numbers, (n_stimuli, n_features); got {values.dtype}")
        check_finite(f"features of {card.name}", values.astype(np.float64, copy=False))
        features[key] = values
    sizes = {len(values) for values in features.values()}
    n = sizes.pop()
    if sizes or not n:
        raise AlignmentError("features of all layers must have the same stimuli, at least one")
    if ids is not None and len(ids) != n:
        raise AlignmentError(f"features have {n} stimuli, and there are {len(ids)} ids")
    return Shown(ids or tuple(map(str, range(n))), features=features)
