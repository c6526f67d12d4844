"""Designs of time series: what happened in each volume, and what does not belong to the signal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_known
from voxelcast.core.errors import DataError, MissingFileError, OptionError, ShapeError, one_line
from voxelcast.datasets.readers.values import read_table

ONSET, DURATION, CONDITION = "onset", "duration", "trial_type"


def read_events(path: Path, run_seconds: float) -> pd.DataFrame:
    """Read the events of a run: a table with the columns ``onset``, ``duration`` (s) and ``trial_type``, as in BIDS.

    Tab-separated; a ``.csv`` has commas. An event that begins after the run ends belongs to another run. Raises
    MissingFileError, DataError where the file is missing, lacks a column, or a time is none.
    """
    frame = _read_columns(path, "events", (ONSET, DURATION, CONDITION))
    events = pd.DataFrame({CONDITION: frame[CONDITION].astype(str).to_numpy()})
    for name in (ONSET, DURATION):
        events[name] = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64)
        bad = ~np.isfinite(events[name].to_numpy())
        if bad.any():
            got = frame[name].to_numpy()[int(bad.argmax())]
            raise DataError(f"{path}: {name} must be seconds; got {got!r} in event {int(bad.argmax()) + 1}; correct it")
    onset, duration = events[ONSET].to_numpy(), events[DURATION].to_numpy()
    if len(events) and ((duration < 0).any() or onset.max() >= run_seconds):
        raise DataError(
            f"{path}: events must begin before the run ends ({run_seconds:g} s) and last 0 s or longer; got an onset "
            f"of {onset.max():g} s and a duration of {duration.min():g} s; check tr, or which run the file is of"
        )
    return events


def conditions_per_volume(events: pd.DataFrame, conditions: Sequence[str], n_volumes: int, tr: float) -> FloatArray:
    """Say how much of each volume's time each condition was on; shape (n_volumes, n_conditions).

    ``tr`` is in seconds. With overlap the length of what two intervals have in common, the value of volume k is
    ``sum over events of overlap([onset, onset + duration], [k tr, (k + 1) tr]) / tr``. An event of duration 0 counts as
    one whole volume: the one in which it begins.
    """
    design = np.zeros((n_volumes, len(conditions)))
    starts = np.arange(n_volumes) * tr
    for onset, duration, condition in zip(events[ONSET], events[DURATION], events[CONDITION], strict=True):
        column = design[:, conditions.index(condition)]
        if duration == 0:
            if onset >= 0:
                column[int(onset // tr)] += 1
            continue
        overlap = np.minimum(onset + duration, starts + tr) - np.maximum(onset, starts)
        column += np.clip(overlap, 0, None) / tr
    return design


def read_nuisance(path: Path, n_volumes: int, columns: Sequence[str] | None) -> FloatArray:
    """Read what is to be taken out of a run's signal, such as head motion; shape (n_volumes, n_columns).

    Raises MissingFileError, DataError, ShapeError, UnknownNameError where the file is missing, holds something else,
    has another number of rows, or lacks a column.

    Parameters
    ----------
    path : Path
        Numbers in columns, a row per volume: a table with names in its first line (``.tsv``, ``.csv``), or numbers
        alone (any other suffix).
    columns : sequence of str or None
        Names of the columns taken; None takes all. ``n/a`` (as for the first volume of a derivative) becomes the
        column's mean.
    """
    if path.suffix in (".tsv", ".csv"):
        frame = _read_columns(path, "nuisance")
        for name in columns or ():
            check_known("nuisance column", name, [str(known) for known in frame.columns], where=f"in {path.name}")
        chosen = frame if columns is None else frame[list(columns)]
        values = chosen.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    else:
        if columns is not None:
            raise OptionError(f"nuisance_columns need names in the first line of a .tsv or .csv; got {path.name}")
        values = _read_numbers(path)
    if len(values) != n_volumes:
        raise ShapeError(f"{path} must have {n_volumes} rows, one per volume; got {len(values)}")
    known = np.isfinite(values)
    if not known.any(axis=0).all():
        raise DataError(f"{path}: every nuisance column must hold numbers; one has none; choose nuisance_columns")
    means = np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0)
    return np.asarray(np.where(known, values, means))


def drift_columns(drift: str, n_volumes: int, tr: float) -> FloatArray:
    """Make the columns of slow drifts of a run, the constant first; shape (n_volumes, n_columns).

    ``cosine(p)`` are the discrete cosines ``cos(pi k (2 t + 1) / (2 n))`` of periods of ``p`` seconds and more, k up to
    ``floor(2 n tr / p)`` [1]_. ``polynomial(d)`` are Legendre polynomials up to degree d. ``none``: the constant alone.

    Raises OptionError if the drift is none of these, or leaves no signal.

    References
    ----------
    .. [1] Friston, K. J. et al. (2000). To smooth or not to smooth? Bias and efficiency in fMRI time-series analysis.
       NeuroImage 12, 196-208. https://doi.org/10.1006/nimg.2000.0609
    """
    kind, value = parse_drift(drift)
    if kind == "polynomial":
        order = int(value)
        columns = np.polynomial.legendre.legvander(np.linspace(-1, 1, n_volumes), order)
    else:
        order = int(np.floor(2 * n_volumes * tr / value)) if kind == "cosine" else 0
        moments = (2 * np.arange(n_volumes) + 1) / (2 * n_volumes)
        columns = np.cos(np.pi * np.outer(moments, np.arange(order + 1)))
    if order + 2 > n_volumes:
        raise OptionError(
            f"drift {drift} leaves nothing of a run of {n_volumes} volumes ({n_volumes * tr:g} s); choose slower drifts"
        )
    return np.asarray(columns)


def parse_drift(drift: str) -> tuple[str, float]:
    """Read ``cosine(seconds)``, ``polynomial(degree)`` or ``none``; raise OptionError for anything else."""
    if drift == "none":
        return "none", 0.0
    found = re.fullmatch(r"cosine\((\d+(?:\.\d*)?)\)|polynomial\((\d+)\)", drift)
    if found and found[2] is not None:
        return "polynomial", float(found[2])
    if found and float(found[1]) > 0:
        return "cosine", float(found[1])
    raise OptionError(f"drift must be none, cosine(SECONDS) or polynomial(DEGREE), e.g. cosine(128); got {drift!r}")


def remove_nuisance(values: FloatArray, columns: FloatArray) -> FloatArray:
    """Take nuisance out of a run's signal by ordinary least squares.

    The columns (n_volumes, n_columns), drifts and nuisance, may depend on one another. The residuals (n_volumes,
    n_voxels) are float64, and exactly 0 for a voxel of which nothing is left but rounding.

    Raises DataError if there are as many independent columns as volumes.
    """
    signal = np.asarray(values, dtype=np.float64)
    scale = np.sqrt(np.square(columns).sum(axis=0))
    scaled = columns / np.where(scale > 0, scale, 1.0)
    u, s, _ = np.linalg.svd(scaled, full_matrices=False)
    basis = u[:, s > s[0] * 1e-10]
    if basis.shape[1] >= len(signal):
        raise DataError(
            f"drifts and nuisance ({basis.shape[1]} columns) leave nothing of a run of {len(signal)} volumes; "
            "take fewer"
        )
    residuals = signal - basis @ (basis.T @ signal)
    size = np.sqrt(np.square(signal).sum(axis=0))
    residuals[:, np.sqrt(np.square(residuals).sum(axis=0)) <= 1e-9 * size] = 0.0
    return np.asarray(residuals)


def _read_columns(path: Path, what: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    return read_table(path, columns, what, separator="," if path.suffix == ".csv" else "\t", missing=True)


def _read_numbers(path: Path) -> FloatArray:
    if not path.is_file():
        raise MissingFileError(f"nuisance not found: {path} does not exist")
    try:
        return np.loadtxt(path, ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path} must hold numbers in columns ({one_line(error)})") from error
