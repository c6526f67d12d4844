"""The tables beside a user's own data: stimulus ids, ROIs, split, groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import IntArray
from voxelcast.core.checks import check_file_name, nfc
from voxelcast.core.errors import AlignmentError, DataError
from voxelcast.datasets.base import Split
from voxelcast.store.readers.guard import read_text
from voxelcast.store.readers.tables import read_table


def read_ids(path: Path) -> tuple[str, ...]:
    """Read stimulus ids, one per line; empty lines are passed over.

    Raises MissingFileError, DataError where the file is missing, empty or not text.
    """
    lines = read_text(path, "stimulus ids").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    ids = tuple(nfc(line.strip()) for line in lines if line.strip())
    if not ids:
        raise DataError(f"{path.name} must hold one stimulus id per line; got no line")
    return ids


def check_unique(ids: Sequence[str], where: str) -> None:
    """Raise AlignmentError where an id occurs twice."""
    seen: set[str] = set()
    for stimulus_id in ids:
        if stimulus_id in seen:
            raise AlignmentError(f"stimulus ids must be unique in {where}; got {stimulus_id!r} more than once")
        seen.add(stimulus_id)


def read_split(path: Path, ids: Sequence[str]) -> dict[str, Split]:
    """Read which stimuli are for training and which for test: a CSV ``stimulus_id,split``.

    Raises DataError for a split other than ``train`` and ``test``; AlignmentError where the table and the stimuli
    differ.
    """
    labels = read_labels(path, "split", ids)
    for stimulus_id, label in labels.items():
        if label not in ("train", "test"):
            raise DataError(f"{path.name}: split must be train or test; got {label!r} for {stimulus_id!r}")
    return {stimulus_id: "train" if label == "train" else "test" for stimulus_id, label in labels.items()}


def read_labels(path: Path, column: str, ids: Sequence[str]) -> dict[str, str]:
    """Read a label of each stimulus, such as its group: a CSV of ``stimulus_id`` and the column.

    Raises AlignmentError where the table and the stimuli differ.
    """
    table = read_table(path, ("stimulus_id", column))
    check_unique(table.column("stimulus_id"), path.name)
    labels = dict(zip(table.column("stimulus_id"), table.column(column), strict=True))
    missing = [stimulus_id for stimulus_id in ids if stimulus_id not in labels]
    unknown = sorted(set(labels) - set(ids))
    if missing or unknown:
        parts = [
            f"{len(some)} {what}, first {some[0]!r}"
            for what, some in (("not in the table", missing), ("not among the stimuli", unknown))
            if some
        ]
        raise AlignmentError(f"{path.name} must list every stimulus once by its id; {'; '.join(parts)}")
    return {stimulus_id: labels[stimulus_id] for stimulus_id in ids}


def read_rois(path: Path, subject: str, n_voxels: int, voxel_names: Sequence[str] | None) -> dict[str, IntArray]:
    """Read the ROIs of one subject, in the order of the table, each as its voxels' indices, ascending.

    A CSV ``voxel,roi`` with an optional column ``subject``: then only the subject's rows are used. A voxel is given by
    its name where there are ``voxel_names``, else by its 0-based number; it may be in several ROIs. Raises DataError
    for a voxel that does not exist, or a table that has no row for the subject.
    """
    table = read_table(path, ("voxel", "roi"))
    rows = list(zip(table.column("voxel"), table.column("roi"), strict=True))
    if "subject" in table.names:
        rows = [row for row, of in zip(rows, table.column("subject"), strict=True) if of == nfc(subject)]
    if not rows:
        raise DataError(f"{path.name} must list voxels of subject {subject}; got none; add them or drop the subject")
    index_of: Mapping[str, int] = {name: i for i, name in enumerate(voxel_names or map(str, range(n_voxels)))}
    indices: dict[str, set[int]] = {}
    for voxel, roi in rows:
        if voxel not in index_of:
            allowed = f"columns such as {voxel_names[0]!r}" if voxel_names else f"0 to {n_voxels - 1}"
            raise DataError(
                f"{path.name}: voxel must be one of subject {subject}'s {allowed}; got {voxel!r} in ROI {roi!r}"
            )
        indices.setdefault(check_file_name(roi, f"ROI in {path.name}"), set()).add(index_of[voxel])
    return {roi: np.array(sorted(members), dtype=np.int64) for roi, members in indices.items()}


def read_folds(
    path: Path, stimuli: Sequence[str], runs: Mapping[str, str], subjects: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Read given folds: a CSV ``stimulus_id,fold``, or ``run,fold``, with an optional column ``subject``.

    Raises AlignmentError where a stimulus or run is missing or there twice; DataError for an empty fold or a subject
    without rows.

    Parameters
    ----------
    stimuli : sequence of str
        Ids of the training stimuli, each of which must have a fold; others may be there.
    runs : mapping of stimulus id to run
        Empty where stimuli are no volumes of runs.
    subjects : sequence of str

    Returns
    -------
    folds : dict of subject to dict of stimulus id to fold
        The subject is empty where the table holds for all.
    """
    column = "run" if runs and "run" in read_table(path, ("fold",)).names else "stimulus_id"
    table = read_table(path, (column, "fold"))
    own = "subject" in table.names
    owners = table.column("subject") if own else [""] * len(table.rows)
    rows = list(zip(owners, table.column(column), table.column("fold"), strict=True))
    folds = {}
    for subject in subjects if own else ("",):
        mine = [(name, fold) for owner, name, fold in rows if owner == nfc(subject)]
        where = f"{path.name}{f' (subject {subject})' if own else ''}"
        check_unique([name for name, _ in mine], where)
        given = dict(mine)
        wanted = {stimulus: runs[stimulus] if column == "run" else stimulus for stimulus in stimuli}
        missing = [name for name in dict.fromkeys(wanted.values()) if not given.get(name)]
        if missing:
            raise AlignmentError(
                f"{where} must give the fold of every training {column.removesuffix('_id')}; {len(missing)} have none, "
                f"first {missing[0]!r}; add them"
            )
        folds[subject] = {stimulus: given[name] for stimulus, name in wanted.items()}
    return folds
