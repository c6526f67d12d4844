"""Find files by patterns such as ``{subject}/{session}/func/*_{run}_bold.nii.gz``.

A field in braces stands for part of a name, and means the same wherever it comes again; ``*`` stands for anything.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from heapq import nlargest
from itertools import islice
from pathlib import Path

from voxelcast.core.checks import natural
from voxelcast.core.errors import AlignmentError, DataError, MissingFileError, OptionError, VoxelcastError
from voxelcast.datasets.readers.brain_images import brain_suffix
from voxelcast.store.readers.plain import read_json

SUBJECT, SESSION, RUN, HEMI = "subject", "session", "run", "hemi"
ROI, STIMULUS = "roi", "stimulus"
_PART = re.compile(r"\{(\w*)\}|(\*+)")
_MOST_LISTED = 5
_MOST_LOOKED_AT = 2000  # files that are held against a pattern that none fits


@dataclass(frozen=True)
class RunFile:
    """One run of a subject: its responses (``{hemi}`` stays in the name), and what the pattern's fields stand for."""

    path: Path
    fields: Mapping[str, str]

    @property
    def name(self) -> str:
        """The run's id: session and run, as far as the pattern has them, joined by ``_``; else ``run``."""
        return "_".join(self.fields[field] for field in (SESSION, RUN) if field in self.fields) or RUN


def check_patterns(patterns: Mapping[str, str]) -> None:
    """Raise OptionError where a pattern has fields that are not known, or not those by which it can find its file.

    ``patterns`` by setting, with that of the responses under ``bold``, whose fields the others may have.
    """
    known = set(_fields(patterns["bold"]))
    for setting, pattern in patterns.items():
        fields = _fields(pattern)
        for field in fields:
            if field not in (SUBJECT, SESSION, RUN, HEMI):
                raise OptionError(
                    f"{setting} may have the fields {{subject}}, {{session}}, {{run}} and {{hemi}}; got {{{field}}}; "
                    "write * for what varies otherwise"
                )
            if field not in known:
                raise OptionError(
                    f"{setting} may have the fields that bold has; got {{{field}}} and {patterns['bold']}"
                )
        if {RUN, SESSION} & known and not {RUN, SESSION} & set(fields):
            raise OptionError(f"{setting} must have the field {{run}}, or {{session}}; got {pattern}")
        if "**" in pattern:
            raise OptionError(f"{setting} may have * for part of a name, but not **; got {pattern}")
    if Path(patterns["bold"]).is_absolute():
        raise OptionError(f"bold must be relative to root; got {patterns['bold']}; set root to where it begins")


def check_fields(setting: str, patterns: Iterable[str], allowed: Sequence[str]) -> None:
    """Raise OptionError where a pattern has a field that is not among those allowed, or ``**``."""
    for pattern in patterns:
        for field in _fields(pattern):
            if field not in allowed:
                shown = ", ".join(f"{{{name}}}" for name in allowed)
                raise OptionError(
                    f"{setting} may have the fields {shown}; got {{{field}}} in {pattern}; write * for what varies "
                    "otherwise"
                )
        if "**" in pattern:
            raise OptionError(f"{setting} may have * for part of a name, but not **; got {pattern}")


def is_pattern(name: str) -> bool:
    """Whether a name has ``*`` or a field other than ``{hemi}``, so that files are looked for that fit it."""
    return any(part[2] or part[1] != HEMI for part in _PART.finditer(name))


def find_matches(
    root: Path, setting: str, patterns: Sequence[str], fixed: Mapping[str, str] | None = None
) -> tuple[RunFile, ...]:
    """Find every file that fits one of some patterns, by session and run, then in the order of the patterns.

    Files of one pattern come in natural order (beta_2 before beta_10).

    Parameters
    ----------
    root : Path
        What patterns are relative to.
    setting : str
        What gives the patterns, for messages.
    patterns : sequence of str
    fixed : mapping of field to str
        What some fields stand for, such as the subject.

    Raises
    ------
    MissingFileError
        Where no file fits a pattern; it names those that come nearest.
    DataError
        Where a folder, pipe or device fits.
    """
    found: dict[Path, RunFile] = {}
    for given in patterns:
        pattern = _PART.sub(lambda part: part[2] or _kept(part[1], fixed or {}), given)
        expression = _expression(pattern)
        names = (name for name in glob.glob(_glob(pattern), root_dir=root) if re.fullmatch(expression, name))
        matches = {name: re.fullmatch(expression, name) for name in sorted(names, key=natural)}
        if not matches:
            raise MissingFileError(f"{setting} not found: no file in {root} fits {pattern}{_near(root, pattern)}")
        for name, match in matches.items():
            assert match is not None
            if not (root / name).is_file():
                raise DataError(f"{setting} {root / name} must be a file; got a folder, pipe or device; correct it")
            one = _run_file(root, pattern, match.groupdict())
            found.setdefault(one.path, RunFile(one.path, {**(fixed or {}), **one.fields}))
    return tuple(
        sorted(found.values(), key=lambda one: [natural(one.fields.get(field, "")) for field in (SESSION, RUN)])
    )


def _near(root: Path, pattern: str) -> str:
    """Say which files come nearest to a pattern that none fits, below the last of its folders that is there."""
    folder = root
    for part in Path(pattern).parts[:-1]:
        if _PART.search(part) or not (folder / part).is_dir():
            break
        folder /= part
    if not folder.is_dir():
        return "; correct it"
    files = (Path(where) / name for where, _, names in os.walk(folder) for name in names)
    plain = _PART.sub("*", pattern)
    shown = [
        str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
        for path in islice(files, _MOST_LOOKED_AT)
    ]
    near = nlargest(3, shown, key=lambda name: SequenceMatcher(None, plain, name).ratio())
    return f"; nearest: {', '.join(near)}; correct it" if near else f"; {folder} has no file; correct it"


def find_runs(root: Path, pattern: str) -> dict[str, dict[str, RunFile]]:
    """Find which runs of which subjects are there, by their names in natural order (run2 before run10).

    ``pattern`` is relative to ``root``. Without ``{subject}`` there is one subject, called ``subject``.

    Raises MissingFileError where no file fits, AlignmentError where several fit one run, DataError for one that is a
    folder, pipe or device.
    """
    expression = _expression(pattern)
    found: dict[str, dict[str, RunFile]] = {}
    for name in sorted(glob.glob(_glob(pattern), root_dir=root)):
        match = re.fullmatch(expression, name)
        if not match:
            continue
        if not (root / name).is_file():
            raise DataError(
                f"responses {root / name} must be a file; got a folder, pipe or device; correct root or bold"
            )
        run = _run_file(root, pattern, match.groupdict())
        there = found.setdefault(run.fields.get(SUBJECT, SUBJECT), {}).setdefault(run.name, run)
        if there.path != run.path:
            raise AlignmentError(
                f"bold must fit one file of run {run.name}; got {there.path} and {run.path}; write out more of the name"
            )
    if not found:
        raise MissingFileError(
            f"responses not found: no file in {root} fits {pattern}{_near(root, pattern)} (root or bold)"
        )
    return {
        subject: {run: found[subject][run] for run in sorted(found[subject], key=natural)}
        for subject in sorted(found, key=natural)
    }


def find_file(root: Path, what: str, pattern: str, run: RunFile) -> Path:
    """Find the file of a run by a pattern with the fields of its responses; ``what`` the message calls it.

    Raises MissingFileError where none fits, AlignmentError where several do.
    """
    if "*" not in pattern:
        return root / _PART.sub(lambda part: _kept(part[1], run.fields), pattern)
    searched = _PART.sub(lambda part: part[2] or glob.escape(_kept(part[1], run.fields)), pattern)
    found = [root / name for name in sorted(glob.glob(searched, root_dir=root))]
    if len(found) > 1:
        raise AlignmentError(
            f"{what} must fit one file of run {run.name}; got {found[0]} and {found[1]}; write out more of the name"
        )
    return found[0] if found else root / searched


def check_found(what: str, files: Iterable[Path]) -> None:
    """Raise MissingFileError that lists the files that are not there; ``what`` the message calls them."""
    every = list(dict.fromkeys(files))
    missing = [str(path) for path in every if not path.is_file()]
    if missing:
        more = f" and {len(missing) - _MOST_LISTED} more" if len(missing) > _MOST_LISTED else ""
        raise MissingFileError(
            f"{what} not found: {len(missing)} of {len(every)} files do not exist: {', '.join(missing[:_MOST_LISTED])}"
            f"{more}; add them or correct {what}"
        )


def sidecar_tr(path: Path, root: Path) -> tuple[float, Path] | None:
    """Read the ``RepetitionTime`` (s) of a run from the nearest JSON file beside or above it, by the rules of BIDS.

    Such a file has no other entities (``task-x``) than the run's. None where no such file has a time that can be read.
    """
    stem = path.name.removesuffix(brain_suffix(path) or path.suffix)
    entities, suffix = set(stem.split("_")), stem.rsplit("_", 1)[-1]
    folder = path.parent
    while True:
        for beside in sorted(folder.glob(f"*{glob.escape(suffix)}.json"), key=lambda file: -len(file.name)):
            if set(beside.stem.split("_")) <= entities and beside.is_file():
                try:
                    found = read_json(beside, "sidecar")
                except VoxelcastError:
                    continue
                seconds = found.get("RepetitionTime") if isinstance(found, dict) else None
                if isinstance(seconds, int | float) and seconds > 0:
                    return float(seconds), beside
        if folder == root or folder == folder.parent or root not in folder.parents:
            return None
        folder = folder.parent


def same_runs(runs: Mapping[str, Iterable[str]], asked: Sequence[str]) -> tuple[str, ...]:
    """Return the runs asked for, which every subject must have.

    Raises DataError where a subject lacks one: models of several subjects are judged on the same volumes.
    """
    for subject, there in runs.items():
        missing = [run for run in asked if run not in there]
        if missing:
            raise DataError(
                f"every subject must have every run; {subject} lacks {', '.join(missing[:3])}; choose runs that all "
                "have, or the subjects one by one"
            )
    return tuple(asked)


def _run_file(root: Path, pattern: str, found: Mapping[str, str]) -> RunFile:
    """Put what was found for fields and each ``*`` into the pattern, but for the hemisphere."""
    fields = {field: text for field, text in found.items() if field != HEMI and field[0] != "_"}
    stars = iter([text for field, text in found.items() if field[0] == "_"])
    return RunFile(root / _PART.sub(lambda part: next(stars) if part[2] else _kept(part[1], fields), pattern), fields)


def _fields(pattern: str) -> list[str]:
    return [part[1] for part in _PART.finditer(pattern) if part[2] is None]


def _kept(field: str, fields: Mapping[str, str]) -> str:
    """Return what a field stands for; one that stands for nothing here (``{hemi}``) stays as it is."""
    return fields.get(field, f"{{{field}}}")


def _glob(pattern: str) -> str:
    """Turn a pattern into one of `pathlib`, in which its other characters stand for themselves."""
    pieces, end = [], 0
    for part in _PART.finditer(pattern):
        pieces += [glob.escape(pattern[end : part.start()]), "*"]
        end = part.end()
    return "".join((*pieces, glob.escape(pattern[end:])))


def _expression(pattern: str) -> str:
    """Turn a pattern into a regular expression, with a group for each field and each ``*``."""
    pieces, seen, end = [], set[str](), 0
    for number, part in enumerate(_PART.finditer(pattern)):
        field = part[1]
        pieces.append(re.escape(pattern[end : part.start()]))
        if part[2]:
            pieces.append(f"(?P<_{number}>[^/]*)")
        elif field in seen:
            pieces.append(f"(?P={field})")
        else:
            pieces.append(f"(?P<{field}>{'L|R|lh|rh|left|right' if field == HEMI else '[^/]+?'})")
            seen.add(field)
        end = part.end()
    return "".join((*pieces, re.escape(pattern[end:])))
