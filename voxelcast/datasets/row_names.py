"""Which stimulus each row of a subject's responses belongs to, as the files of a study say it.

A row is named by its line in a text file, its event in a table of BIDS, its regressor in an SPM.mat, its contrast in
FSL's design.con, or its condition in GLMsingle's design.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from voxelcast.core.checks import check_known, nfc
from voxelcast.core.errors import AlignmentError, DataError, ShapeError
from voxelcast.datasets.patterns import RUN, SESSION, SUBJECT, RunFile, find_matches
from voxelcast.datasets.readers.glmsingle import condition_order, design_file, is_glmsingle, trial_conditions
from voxelcast.datasets.readers.matlab import read_matlab
from voxelcast.datasets.tables import read_ids
from voxelcast.stimuli.stimulus import IMAGE_SUFFIXES, SOUND_SUFFIXES, VIDEO_SUFFIXES
from voxelcast.store.readers.guard import read_text
from voxelcast.store.readers.tables import number_of, read_table

STIM_FILE, TRIAL_TYPE, ONSET = "stim_file", "trial_type", "onset"
_MISSING: Final = ("", "n/a")
_MEDIA = IMAGE_SUFFIXES | VIDEO_SUFFIXES | SOUND_SUFFIXES
_REGRESSOR = re.compile(r"Sn\(\d+\) (.+)\*bf\(1\)")
_CONTRAST = re.compile(r"/ContrastName(\d+)\s+(.*)")

Names = list[str | None]
"""The stimulus of each row; None for rows that belong to none."""


@dataclass(frozen=True)
class RowNaming:
    """What says which stimulus each row is; see `voxelcast.datasets.folder_settings.FolderSettings`.

    Parameters
    ----------
    root : Path
    patterns : tuple of str
        Files that name rows, with the fields that the responses have.
    column : str or None
        Of tables of events.
    trial_types : tuple of str or None
        The events that have a row; None: all that have a name.
    conditions : str or None
        File with the names of the columns of GLMsingle's design.
    """

    root: Path
    patterns: tuple[str, ...] = ()
    column: str | None = None
    trial_types: tuple[str, ...] | None = None
    conditions: str | None = None

    def read(self, files: Sequence[RunFile], n_rows: Sequence[int]) -> tuple[Names, tuple[Path, ...]]:
        """Name the rows of one subject's files, which have ``n_rows`` each, and say what files were read.

        Raises MissingFileError, DataError, ShapeError, AlignmentError where those are missing, say nothing, or name
        another number of rows.
        """
        names: Names = []
        used: list[Path] = []
        for places in _together(files):
            some, sizes = [files[place] for place in places], [n_rows[place] for place in places]
            more, read = self._read_some(some, sizes)
            if len(more) != sum(sizes):
                shown = some[0].path.name + (f" and {len(some) - 1} more files" if len(some) > 1 else "")
                raise ShapeError(
                    f"{shown} must have {len(more)} maps, one per stimulus id in {_listed(read)}; got {sum(sizes)}; "
                    "correct the ids, or choose the events that have a map (trial_types)"
                )
            names += more
            used += read
        return names, tuple(dict.fromkeys(used))

    def _read_some(self, files: Sequence[RunFile], sizes: Sequence[int]) -> tuple[Names, list[Path]]:
        """Name the rows of files that are of one session and run."""
        fields = {name: text for name, text in files[0].fields.items() if name in (SUBJECT, SESSION, RUN)}
        if self.conditions is not None:
            listed = find_matches(self.root, "conditions", [self.conditions], fields)[0]
            names = read_ids(listed.path)
            named: Names = [name for file in files for name in trial_conditions(file.path, names)]
            designs = [design for file in files if (design := design_file(file.path)) is not None]
            return named, [listed.path, *designs]
        found = [one.path for one in find_matches(self.root, "stimulus_ids", self.patterns, fields)]
        names_of: Names = []
        for path in found:
            names_of += self._names(path, files, sizes)
        if len(files) == 1 and is_glmsingle(files[0].path):
            _check_order(files[0].path, names_of)
        return names_of, found

    def _names(self, path: Path, files: Sequence[RunFile], sizes: Sequence[int]) -> Names:
        if ".tsv" in path.suffixes[-2:]:
            return event_names(path, self.column, self.trial_types)
        if path.suffix == ".mat":
            return _numbered(path, _spm_names(path, files[0].path.name), files, sizes)
        if path.suffix == ".con":
            return _numbered(path, _fsl_names(path), files, sizes)
        return list(read_ids(path))


def event_names(path: Path, column: str | None = None, trial_types: Sequence[str] | None = None) -> Names:
    """Name the events of a run in the order in which they began; those without a name are left out.

    Parameters
    ----------
    path : Path
        A table of BIDS.
    column : str or None
        Its column that names stimuli; None: ``stim_file`` where it is there and not ``n/a`` throughout, else
        ``trial_type``. Of a file's path counts the name without suffix.
    trial_types : sequence of str or None
        The events that count.

    Raises
    ------
    MissingFileError, DataError, UnknownNameError
        Where the table is missing, damaged, or lacks a column.
    """
    table = read_table(path, (), "events")
    if column is None:
        there = STIM_FILE in table.names and not set(table.column(STIM_FILE)) <= set(_MISSING)
        column = STIM_FILE if there else TRIAL_TYPE
    for needed in (column, *([TRIAL_TYPE] if trial_types is not None else [])):
        check_known("column", needed, table.names, where=f"in {path}")
    kept = [name not in _MISSING for name in table.column(column)]
    if trial_types is not None:
        kept = [keep and kind in trial_types for keep, kind in zip(kept, table.column(TRIAL_TYPE), strict=True)]
    order = list(range(len(kept)))
    if ONSET in table.names:
        onsets = table.column(ONSET)
        order = sorted(
            (place for place in order if kept[place]), key=lambda place: _seconds(path, place, onsets[place])
        )
    cells = table.column(column)
    return [_stimulus_of(cells[place]) for place in order if kept[place]]


def _seconds(path: Path, place: int, cell: str) -> float:
    number = number_of(cell)
    if number is None or isnan(number):
        raise DataError(f"{path}: onset must be seconds; got {cell!r} in event {place + 1}; correct it")
    return number


def _stimulus_of(cell: str) -> str:
    """Return the id of a stimulus that is given by its name or its file's path."""
    name = PurePosixPath(cell.replace("\\", "/"))
    return nfc(name.stem if name.suffix.lower() in _MEDIA else name.name)


def _together(files: Sequence[RunFile]) -> list[list[int]]:
    """Group the places of files that have the same session and run."""
    groups: dict[tuple[str | None, ...], list[int]] = {}
    for place, file in enumerate(files):
        groups.setdefault((file.fields.get(SESSION), file.fields.get(RUN)), []).append(place)
    return list(groups.values())


def _numbered(path: Path, names: Mapping[int, str | None], files: Sequence[RunFile], sizes: Sequence[int]) -> Names:
    """Name maps by the number at the end of their file's name, or by their place where one file has them all."""
    if len(files) == 1 and sizes[0] > 1:
        return [names[number] for number in sorted(names)]
    found: Names = []
    for file, size in zip(files, sizes, strict=True):
        number = re.search(r"(\d+)\.[^/]*$", file.path.name)
        if number is None or size != 1 or int(number[1]) not in names:
            raise AlignmentError(
                f"{file.path} must be one map with the number of one of the {len(names)} names in {path}; got {size} "
                f"maps, number {number[1] if number else 'none'}; rename it, or leave it out of responses"
            )
        found.append(names[int(number[1])])
    return found


def _spm_names(path: Path, shown: str) -> dict[int, str | None]:
    """Read the conditions of an SPM.mat by the number of their beta, or contrasts by the number of their con image."""
    content = read_matlab(path, "SPM")
    try:
        if shown.startswith("con_"):
            contrasts = content["SPM"]["xCon"].item()["name"].ravel()
            return {number: nfc(str(np.asarray(name).item())) for number, name in enumerate(contrasts, 1)}
        regressors: Any = content["SPM"]["xX"].item()["name"].item().ravel()
        texts = [str(np.asarray(name).item()) for name in regressors]
    except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} must hold SPM with xX.name, as SPM12 writes it; got {error!r}; get it again"
        ) from error
    found = {number: _REGRESSOR.fullmatch(text) for number, text in enumerate(texts, 1)}
    return {number: nfc(match[1]) if match else None for number, match in found.items()}


def _fsl_names(path: Path) -> dict[int, str | None]:
    """Read the contrasts of FSL's design.con by the number of their cope."""
    lines = (_CONTRAST.match(line) for line in read_text(path, "contrasts").splitlines())
    found: dict[int, str | None] = {int(match[1]): nfc(match[2].strip()) for match in lines if match}
    if not found:
        raise DataError(f"{path} must have lines /ContrastName1 ...; got none; give FEAT's design.con")
    return found


def _check_order(path: Path, names: Names) -> None:
    """Raise AlignmentError where names repeat otherwise than the conditions of GLMsingle's design."""
    order = condition_order(path)
    if order is None or len(order) != len(names):
        return
    pairs = dict(zip(order.tolist(), names, strict=True))
    if [pairs[condition] for condition in order.tolist()] != names:
        raise AlignmentError(
            f"trials must repeat as in DESIGNINFO beside {path}; got names that repeat otherwise; check the order of "
            "runs and events, or which events GLMsingle was given (trial_types)"
        )


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
