"""Features of the user's own: a row for each stimulus, or what happened when in the runs of a time series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_known, home_expanded, nfc
from voxelcast.core.errors import AlignmentError, DataError, OptionError, ShapeError
from voxelcast.core.settings import NO_EFFECT, settings
from voxelcast.features.delays import Response
from voxelcast.features.grid import events_on_grid, samples_on_grid, step_of
from voxelcast.features.hrf import response_to_events
from voxelcast.store.readers.arrays import open_npy, read_npz
from voxelcast.store.readers.guard import read_text
from voxelcast.store.readers.hdf5 import read_hdf5
from voxelcast.store.readers.tables import Table, read_numbers, read_parquet, read_table

ARRAYS, TABLES = (".npy", ".npz", ".h5", ".hdf5", ".txt"), (".csv", ".tsv", ".parquet")
SORTED: Final = "sorted"
RUN_FIELD: Final = "{run}"
PACKED: Final = (".npz", ".h5", ".hdf5")
Combine = Literal["sum", "mean", "last"]
Events = tuple[FloatArray, FloatArray, FloatArray]
"""Onsets and durations (n_events,), in seconds after a run begins, and values (n_events, n_features)."""
ID, RUN, ONSET, DURATION, VALUES = "stimulus_id", "run", "onset", "duration", "features"


@settings
class FeatureFile:
    """A file of features: an array (.npy, .npz, .h5, .txt of numbers alone) or a table (.csv, .tsv, .parquet).

    Parameters
    ----------
    file : str
        In a time series, ``{run}`` in it stands for the run. A table of a run may have ``onset`` and ``duration`` (s)
        of what happened, and an .npz or .h5 arrays ``onset`` and ``duration`` beside ``features``.
    ids : str or None
        Which stimulus each row of an array is of: a file of ids, one per line, or a .csv with ``stimulus_id``; or
        ``"sorted"``: rows are in the sorted order of the ids. None: the ids are in the file (``stimulus_id``), or
        beside it, in ``NAME_ids.txt``, ``stimulus_ids.txt`` or the ``stimuli.csv`` of ``voxelcast extract``.
    columns : sequence of str
        Of a table; empty: all.
    rate : float or None
        Of an array with a row for each moment of a run instead: rows in a second (Hz).
    start : float
        Seconds from the beginning of a run's first volume to the first row, or to 0 s of the onsets.
    combine : {"sum", "mean", "last"}
        What a volume has of the events in it.
    """

    file: Annotated[str, NO_EFFECT]
    ids: Annotated[str | None, NO_EFFECT] = None
    columns: tuple[str, ...] = ()
    rate: Annotated[float, Gt(0)] | None = None
    start: float = 0.0
    combine: Combine = "sum"

    def __post_init__(self) -> None:
        suffix = Path(self.file).suffix.lower()
        if suffix not in (*ARRAYS, *TABLES):
            raise OptionError(
                f"features must be one of {', '.join((*ARRAYS, *TABLES))}; got {self.file!r}; save them so"
            )
        for name, given, wanted in (("columns", self.columns, TABLES), ("ids", self.ids, ARRAYS)):
            if given and suffix not in wanted:
                raise OptionError(f"{name} of features go with {', '.join(wanted)}; got {self.file!r}; leave them out")
        if self.ids and self.rate is not None:
            raise OptionError(f"rows of {self.file} are of stimuli (ids) or of moments (rate); got both; give one")


@dataclass(frozen=True)
class Timeline:
    """The volumes of a time series: ``tr`` in seconds, how many each run has, and run and volume of each stimulus."""

    tr: float
    lengths: Mapping[str, int]
    series: Mapping[str, tuple[str, int]]

    def rows(self, ids: Sequence[str], of_runs: Mapping[str, FloatArray]) -> FloatArray:
        """Give the rows of some stimuli, (n_stimuli, n_features), from those of each run, (n_volumes, n_features)."""
        sizes = {run: values.shape[1] for run, values in of_runs.items()}
        if len(set(sizes.values())) > 1:
            raise ShapeError(f"features must have the same columns in every run; got {sizes}; correct the files")
        places = [self.series[stimulus_id] for stimulus_id in ids]
        return np.stack([of_runs[run][volume] for run, volume in places])


def is_timed(source: FeatureFile, name: str) -> bool:
    """Whether features say when things happened, rather than having a row for each stimulus."""
    path, what = home_expanded(Path(source.file)), f"features {name}"
    if source.rate is not None or RUN_FIELD in source.file:
        return True
    if path.suffix.lower() in TABLES:
        return ONSET in _open(path, what).names
    return path.suffix.lower() in PACKED and ONSET in _packed(path, what, (ONSET,))


def read_features(
    source: FeatureFile,
    name: str,
    ids: Sequence[str],
    timeline: Timeline | None,
    response: Response | None = None,
) -> FloatArray:
    """Read features of stimuli, by their ids: a row for each, in order, (n_stimuli, n_features), float64.

    Of a time series, what has a rate or onsets is brought to the volumes by exact overlap (`voxelcast.features.grid`),
    or convolved with the ``response`` at its own times (`voxelcast.features.hrf.response_to_events`).

    Raises MissingFileError, DataError, ShapeError, AlignmentError, UnsafeFileError or OptionError where a file is
    missing or damaged, a value is text, NaN or infinite, stimuli lack a row or have two, or it is not known whose a row
    is.
    """
    path, what = home_expanded(Path(source.file)), f"features {name}"
    timed = is_timed(source, name)
    if timed and timeline is None:
        raise OptionError(
            f"{what}: rate, onset and {RUN_FIELD} go with time series, and this dataset has none; give a row for each "
            f"stimulus, with its {ID}"
        )
    if timed and timeline is not None:
        values = timeline.rows(ids, {run: _of_run(source, what, run, timeline, response) for run in timeline.lengths})
    else:
        known, found, columns = _by_stimulus(path, source, what, ids)
        row = {stimulus_id: index for index, stimulus_id in enumerate(known)}
        if len(row) < len(known):
            twice = next(one for one in known if known.count(one) > 1)
            raise AlignmentError(f"{what}: {path} must have each stimulus once; got {twice!r} several times; keep one")
        missing = [one for one in ids if nfc(one) not in row]
        if missing:
            raise AlignmentError(
                f"{what}: {path} has no row for {len(missing)} of {len(ids)} stimuli, first {missing[0]!r}; its ids "
                f"are such as {known[0] if known else 'none'!r}; add the rows, or correct the ids"
            )
        values = found[[row[nfc(one)] for one in ids]]
        _check_values(values, what, ids, columns)
    if not values.shape[1]:
        raise DataError(f"{what}: {path} has no column of features; add one")
    return values


def _by_stimulus(
    path: Path, source: FeatureFile, what: str, ids: Sequence[str]
) -> tuple[tuple[str, ...], FloatArray, Sequence[str]]:
    """Read ids, values (n_rows, n_features), and names of columns, of features with a row for each stimulus."""
    if path.suffix.lower() in TABLES:
        table = _open(path, what)
        names, values = _numbers(table, what, (ID,), source.columns)
        return tuple(table.column(ID)), values, names
    array, inside = _array(path, what)
    if inside is not None and source.ids is not None:
        raise AlignmentError(f"{what}: {path} holds ids of its own; got ids={source.ids} too; leave that out")
    known = inside if inside is not None else _ids_beside(path, source.ids, what, ids)
    if len(known) != len(array):
        raise ShapeError(f"{what}: {path} must have {len(known)} rows, one per id; got {len(array)}; correct one")
    return known, array, [str(number + 1) for number in range(array.shape[1])]


def _array(path: Path, what: str) -> tuple[FloatArray, tuple[str, ...] | None]:
    """Read an array (n_rows, n_features), float64, and its ids where it holds some; one column may be a vector."""
    inside = None
    if path.suffix.lower() in (".npy", ".txt"):
        array: NDArray[Any] = read_numbers(path) if path.suffix.lower() == ".txt" else open_npy(path, what)
    else:
        found = _packed(path, what, (VALUES, ID))
        if VALUES not in found:
            raise DataError(
                f"{what}: {path} must hold an array {VALUES!r}, and {ID!r}; got none of that name; save it so"
            )
        array = found[VALUES]
        if ID in found:
            inside = tuple(nfc(one.decode() if isinstance(one, bytes) else str(one)) for one in found[ID].ravel())
    if array.dtype.kind not in "fiub":
        raise DataError(f"{what}: {path} must hold numbers; got {array.dtype}; save numbers")
    if array.ndim not in (1, 2):
        raise ShapeError(
            f"{what}: {path} must have shape (n_stimuli, n_features); got {array.shape}; pool or flatten it"
        )
    return array.reshape(len(array), -1).astype(np.float64), inside


def _packed(path: Path, what: str, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    return read_npz(path, what, names) if path.suffix.lower() == ".npz" else read_hdf5(path, what, names)


def _open(path: Path, what: str) -> Table:
    return read_parquet(path, what) if path.suffix.lower() == ".parquet" else read_table(path, (), what)


def _numbers(table: Table, what: str, keys: Sequence[str], columns: Sequence[str]) -> tuple[list[str], FloatArray]:
    """Read the numbers of the columns chosen, or of all that are no ``keys``, which must be there; and their names."""
    missing = [key for key in keys if key not in table.names]
    if missing:
        raise DataError(f"{what}: {table.path} must have the columns {', '.join(keys)}; got {', '.join(table.names)}")
    for name in columns:
        check_known("column", name, table.names, where=f"in {table.path}")
    chosen = list(columns) or [name for name in table.names if name not in keys]
    return chosen, table.numbers(chosen)


def _ids_beside(path: Path, given: str | None, what: str, ids: Sequence[str]) -> tuple[str, ...]:
    """Return whose the rows of an array without ids are."""
    if given == SORTED:
        return tuple(sorted(map(nfc, ids)))
    if given is not None:
        return _read_ids(home_expanded(Path(given)), what)
    beside = [path.with_name(name) for name in (f"{path.stem}_ids.txt", "stimulus_ids.txt", "stimuli.csv")]
    there = next((one for one in beside if one.is_file()), None)
    if there is None:
        raise AlignmentError(
            f"{what}: which stimulus each row of {path} is of is not known; put {beside[0].name} beside it, with one "
            "id per line, or say ids: sorted if rows are in the sorted order of the ids"
        )
    return _read_ids(there, what)


def _read_ids(path: Path, what: str) -> tuple[str, ...]:
    if path.suffix.lower() == ".csv":
        table = read_table(path, (ID,), what)
        broken = table.column("broken") if "broken" in table.names else [""] * len(table.rows)
        return tuple(one for one, reason in zip(table.column(ID), broken, strict=True) if not reason)
    return tuple(nfc(line.strip()) for line in read_text(path, f"{what}: ids").splitlines() if line.strip())


def on_volumes(events: Events, grid: tuple[int, float], combine: Combine, response: Response | None) -> FloatArray:
    """Bring events to volumes: summed by overlap or through a response, their mean by overlap, or each volume's last.

    Of the mean and the last, 0 where there is no event; ``grid``: the number of volumes, and the seconds of each.
    """
    if combine == "sum":
        return events_on_grid(*events, *grid) if response is None else response_to_events(*events, grid, response)
    onsets, durations, values = events
    if combine == "mean":
        counts = events_on_grid(onsets, durations, np.ones((len(onsets), 1)), *grid)
        total = events_on_grid(onsets, durations, values, *grid)
        return np.divide(total, counts, out=np.zeros_like(total), where=counts > 0)
    found = np.zeros((grid[0], values.shape[1]))
    for event in np.argsort(onsets, kind="stable"):
        place = step_of(onsets[event], grid[1])
        if 0 <= place < grid[0]:
            found[place] = values[event]
    return found


def _of_run(source: FeatureFile, what: str, run: str, timeline: Timeline, response: Response | None) -> FloatArray:
    """Read features of a run's volumes, (n_volumes, n_features)."""
    path = home_expanded(Path(source.file.replace(RUN_FIELD, run)))
    grid = timeline.lengths[run], timeline.tr
    own, what = RUN_FIELD in source.file or len(timeline.lengths) == 1, f"{what} of run {run}"
    if path.suffix.lower() in TABLES:
        table = _open(path, what)
        if ONSET in table.names:
            return on_volumes(_events(table, source, what, "" if own else run), grid, source.combine, response)
        names, values = _numbers(table, what, (), source.columns)
    else:
        values, _ = _array(path, what)
        names = [str(number + 1) for number in range(values.shape[1])]
        times = _packed(path, what, (ONSET, DURATION)) if path.suffix.lower() in PACKED else {}
        if len(times) == 2 and own:
            _check_values(values, what, [f"event {k + 1}" for k in range(len(values))], names)
            onsets, durations = (times[name].astype(np.float64).ravel() for name in (ONSET, DURATION))
            if not len(onsets) == len(durations) == len(values):
                raise ShapeError(f"{what}: {path} must have an onset and a duration for each of {len(values)} rows")
            return on_volumes((onsets + source.start, durations, values), grid, source.combine, response)
    if source.rate is None or not own:
        raise OptionError(
            f"{what}: {path} needs rate, the rows in a second (Hz), and a file for each run ({RUN_FIELD} in its name); "
            f"got rate {source.rate} and {source.file}; give them"
        )
    _check_values(values, what, [f"row {k + 1}" for k in range(len(values))], names)
    averaged = samples_on_grid(values, source.rate, source.start, *grid)
    if response is None:
        return averaged
    onsets = source.start + np.arange(len(values)) / source.rate
    return on_volumes((onsets, np.full(len(values), 1 / source.rate), values), grid, "sum", response)


def _events(table: Table, source: FeatureFile, what: str, run: str) -> Events:
    """Read events from the columns ``onset``, ``duration`` (s) and values; onsets are seconds after the run begins.

    ``run``: the events of that one, by the column ``run``; empty: all.
    """
    asked = (ONSET, DURATION, *source.columns) if source.columns else ()
    keys = (RUN,) if run or RUN in table.names else ()
    names, values = _numbers(table, what, keys, asked)
    for name in (ONSET, DURATION):
        check_known("column", name, names, where=f"in {table.path}")
    if run:
        values = values[[one == nfc(run) for one in table.column(RUN)]]
    _check_values(values, what, [f"event {k + 1}" for k in range(len(values))], names)
    kept = [place for place, name in enumerate(names) if name not in (ONSET, DURATION)]
    amounts = values[:, kept] if kept else np.ones((len(values), 1))
    onsets, durations = (values[:, names.index(name)] for name in (ONSET, DURATION))
    if (durations < 0).any():
        raise DataError(f"{what}: durations must be 0 s or longer; got {durations.min():g} s; correct them")
    return onsets + source.start, durations, amounts


def _check_values(values: FloatArray, what: str, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Raise DataError for a value that is not finite; the message says which is the first."""
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise DataError(
            f"{what} must be finite; got {len(bad)} of {values.size} values that are missing, NaN or infinite, first "
            f"of {rows[row]} in column {columns[column]}; fill them in, or leave that column out"
        )
