"""Find the files of subjects and runs by patterns such as ``{subject}/func/{subject}_task-x_{run}_bold.nii.gz``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from voxelcast.core.errors import DataError, MissingFileError, OptionError

SUBJECT, RUN = "subject", "run"
_FIELD = re.compile(r"\{(\w*)\}")


def check_pattern(setting: str, pattern: str) -> None:
    """Raise OptionError unless the fields of a pattern are known, and the run is among them."""
    fields = _FIELD.findall(pattern)
    for field in fields:
        if field not in (SUBJECT, RUN, "hemi"):
            raise OptionError(f"{setting} may have the fields {{subject}}, {{run}} and {{hemi}}; got {{{field}}}")
    if RUN not in fields:
        raise OptionError(f"{setting} must have the field {{{RUN}}}; got {pattern}")


def find_runs(root: Path, pattern: str) -> dict[str, tuple[str, ...]]:
    """Find which runs of which subjects are there, both in natural order (run2 before run10).

    In ``pattern``, relative to ``root``, ``{subject}`` and ``{run}`` stand for part of a name and mean the same
    wherever they come again. Without ``{subject}`` there is one subject, called ``subject``.

    Raises MissingFileError where no file fits.
    """
    expression, seen = "", set()
    for i, text in enumerate(_FIELD.split(pattern)):
        if i % 2 == 0:
            expression += re.escape(text)
        elif text == "hemi":
            expression += "(?:L|R|lh|rh|left|right)"
        else:
            expression += f"(?P={text})" if text in seen else f"(?P<{text}>[^/]+?)"
            seen.add(text)
    found: dict[str, set[str]] = {}
    for path in root.glob(_FIELD.sub("*", pattern)):
        match = re.fullmatch(expression, path.relative_to(root).as_posix())
        if match and path.is_file():
            named = match.groupdict()
            found.setdefault(named.get(SUBJECT, SUBJECT), set()).add(named[RUN])
    if not found:
        raise MissingFileError(f"responses not found: no file in {root} fits {pattern}; correct root or bold")
    return {subject: tuple(sorted(found[subject], key=natural)) for subject in sorted(found, key=natural)}


def filled(root: Path, pattern: str, subject: str, run: str) -> Path:
    """Name the file of one subject and run; ``{hemi}`` stays."""
    return root / pattern.replace("{subject}", subject).replace("{run}", run)


def natural(name: str) -> list[tuple[int, int | str]]:
    """Sort key by which run2 comes before run10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]


def same_runs(runs: dict[str, tuple[str, ...]], asked: Sequence[str]) -> tuple[str, ...]:
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
