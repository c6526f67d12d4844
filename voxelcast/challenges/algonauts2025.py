"""Submissions to the Algonauts challenge of 2025: a dict of time series, saved by NumPy, in a zip.

``{'sub-01': {'s07e01a': float32 (n_volumes, 1000)}}`` in ``fmri_predictions_friends_s7.npy``, alone at the root of the
zip; ``fmri_predictions_ood.npy`` for the out-of-distribution movies.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import numpy as np

from voxelcast.challenges.archive import check_size, read_members, zipped
from voxelcast.challenges.layout import Part, Shape, as_float32, part_problems, raise_first
from voxelcast.challenges.pickling import pickled
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, MissingFileError
from voxelcast.datasets.readers.pickled_boxes import load_boxed_dict
from voxelcast.store.atomic import write_bytes

Phase = Literal["friends_s7", "ood"]

STEMS: Final[Mapping[Phase, str]] = {"friends_s7": "fmri_predictions_friends_s7", "ood": "fmri_predictions_ood"}

_MOST_BYTES_PER_VALUE: Final = 16
_OVERHEAD_BYTES: Final = 1 << 20


def phase_of(shapes: Mapping[Part, Shape]) -> Phase:
    """Tell the phase from the runs: episodes of season 7 of Friends, or other movies."""
    return "friends_s7" if all(run.startswith("s07e") for _, run in shapes) else "ood"


def make_2025(predictions: Mapping[Part, FloatArray], folder: Path, shapes: Mapping[Part, Shape]) -> Path:
    """Write ``fmri_predictions_{phase}.npy`` and, ready for upload, the ``.zip`` of the same stem.

    Parameters
    ----------
    predictions : mapping of (subject, run) to ndarray of shape (n_volumes, n_parcels)
        Of every volume of the run; written as float32.
    folder : Path
        Made if it does not exist.
    shapes : mapping of (subject, run) to tuple
        What is required.

    Returns
    -------
    path : Path
        Of the zip; the same predictions give the same bytes.

    Raises
    ------
    DataError, UnknownNameError, ShapeError
        For a missing or unknown run, a wrong shape, NaN or infinity; nothing is written.
    """
    arrays = {part: as_float32(values) for part, values in predictions.items()}
    stem = STEMS[phase_of(shapes)]
    raise_first(part_problems(arrays, shapes, "run"), stem)
    content: dict[str, dict[str, FloatArray]] = {}
    for subject, run in shapes:
        content.setdefault(subject, {})[run] = arrays[subject, run]
    # As np.save writes a dict, but for the pickle's protocol and names, which NumPy 1 reads too.
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": ()})
    buffer.write(pickled(np.array(content, dtype=object)))
    write_bytes(folder / f"{stem}.npy", buffer.getvalue())
    write_bytes(folder / f"{stem}.zip", zipped({f"{stem}.npy": buffer.getvalue()}))
    return folder / f"{stem}.zip"


def read_2025(path: Path, shapes: Mapping[Part, Shape]) -> dict[Part, FloatArray]:
    """Read a submission that is in order: the zip or the ``.npy`` in it.

    Raises
    ------
    MissingFileError
        If there is no such file.
    UnsafeFileError
        If it holds more than arrays and plain containers; nothing of it was run.
    DataError, UnknownNameError, ShapeError
        For a missing or unknown subject or run, a wrong shape, NaN or infinity.
    """
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist or is no file; give a submission's .zip or .npy")
    limit = sum(n * m for n, m in shapes.values()) * _MOST_BYTES_PER_VALUE + _OVERHEAD_BYTES
    if path.suffix == ".npy":
        check_size(path.name, path.stat().st_size, limit)
        content = load_boxed_dict(path)
    else:
        name = f"{STEMS[phase_of(shapes)]}.npy"
        with tempfile.TemporaryDirectory() as folder:
            member = Path(folder) / name
            member.write_bytes(read_members(path, {name: limit})[name])
            content = load_boxed_dict(member)
    arrays: dict[Part, FloatArray] = {}
    for subject, runs in content.items():
        if not isinstance(runs, Mapping):
            raise DataError(f"{path.name}: {subject!r} must hold a dict {{run: array}}; got {type(runs).__name__}")
        arrays |= {(str(subject), str(run)): array for run, array in runs.items()}
    raise_first(part_problems(arrays, shapes, "run"), path.name)
    return {part: arrays[part] for part in shapes}
