"""Designs of time series: what happened in each volume, and what does not belong to the signal."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from voxelcast.core.arrays import BoolArray, FloatArray
from voxelcast.core.checks import check_known
from voxelcast.core.errors import DataError, OptionError, ShapeError, VoxelcastWarning
from voxelcast.store.readers.tables import number_of, read_numbers, read_table

ONSET, DURATION, CONDITION = "onset", "duration", "trial_type"


def read_events(path: Path, run_seconds: float) -> pd.DataFrame:
    """Read the events of a run: a table with the columns ``onset``, ``duration`` (s) and ``trial_type``, as in BIDS.

    Tab-separated; a ``.csv`` has commas. Trial types are text as it stands; events whose type is ``n/a`` or empty are
    left out with a VoxelcastWarning. An event that begins after the run ends belongs to another run. Raises
    MissingFileError, DataError where the file is missing, lacks a column, or a time is none.
    """
    table = read_table(path, (ONSET, DURATION, CONDITION), "events", separator="," if path.suffix == ".csv" else "\t")
    times = []
    for name in (ONSET, DURATION):
        numbers = [number_of(cell) for cell in table.column(name)]
        bad = [place for place, number in enumerate(numbers) if number is None or isnan(number)]
        if bad:
            got = table.column(name)[bad[0]]
            raise DataError(f"{path}: {name} must be seconds; got {got!r} in event {bad[0] + 1}; correct it")
        times.append(np.array(numbers, dtype=np.float64))
    onset, duration = times
    if len(onset) and ((duration < 0).any() or onset.max() >= run_seconds):
        raise DataError(
            f"{path}: events must begin before the run ends ({run_seconds:g} s) and last 0 s or longer; got an onset "
            f"of {onset.max():g} s and a duration of {duration.min():g} s; check tr, or which run the file is of"
        )
    types = table.column(CONDITION)
    named = np.array([name not in ("n/a", "") for name in types], dtype=bool)
    if not named.all():
        _warn(f"{path}: {int((~named).sum())} of {len(types)} events have no trial_type and are left out", ~named)
    events = pd.DataFrame({CONDITION: pd.Series(types, dtype=object), ONSET: onset, DURATION: duration})
    return events[named].reset_index(drop=True)


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

    ``n/a``, empty and ``NaN`` (as for the first volume of a derivative) become the column's mean, and a
    VoxelcastWarning says how many those are; other text and infinities are refused.

    Raises MissingFileError, DataError, ShapeError, UnknownNameError where the file is missing, holds something else,
    has another number of rows, or lacks a column.

    Parameters
    ----------
    path : Path
        Numbers in columns, a row per volume: a table with names in its first line (``.tsv``, ``.csv``, also packed as
        ``.gz``), or numbers alone (any other suffix).
    columns : sequence of str or None
        Names of the columns taken; None takes all.
    """
    if {".tsv", ".csv"} & set(path.suffixes[-2:]):
        table = read_table(path, (), "nuisance")
        for name in columns or ():
            check_known("nuisance column", name, table.names, where=f"in {path.name}")
        chosen = table.names if columns is None else columns
        if "" in chosen:
            raise DataError(f"{path}: column {chosen.index('') + 1} has no name; choose nuisance_columns")
        values = table.numbers(chosen)
    else:
        if columns is not None:
            raise OptionError(f"nuisance_columns need names in the first line of a .tsv or .csv; got {path.name}")
        values = read_numbers(path)
    if len(values) != n_volumes:
        raise ShapeError(f"{path} must have {n_volumes} rows, one per volume; got {len(values)}")
    known: BoolArray = np.isfinite(values)
    if not known.any(axis=0).all():
        raise DataError(f"{path}: every nuisance column must hold numbers; one has none; choose nuisance_columns")
    means = np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0)
    if not known.all():
        _warn(f"{path}: {int((~known).sum())} missing values became their column's mean", np.isnan(values).any(axis=1))
    return np.asarray(np.where(known, values, means))


def _warn(message: str, of_rows: Any) -> None:
    """Warn of something in some rows of a table; ``of_rows`` (n_rows,) says which."""
    rows = [str(number) for number in np.flatnonzero(of_rows) + 1]
    shown = f"row {', '.join(rows[:5])}{', ...' if len(rows) > 5 else ''}"
    warnings.warn(f"{message} ({shown})", VoxelcastWarning, stacklevel=3)


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
