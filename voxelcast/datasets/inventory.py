"""What files a dataset should have, and what a folder has of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from voxelcast.core.errors import VoxelcastError

Problem = Callable[[Path], str | None]
"""Look into a file and say what is wrong with it in a few words; None where nothing is."""


@dataclass(frozen=True)
class Expected:
    """One file that a dataset should have, or several of one pattern.

    Parameters
    ----------
    group : str
        What findings are counted by, e.g. ``"videos"`` or ``"responses of sub01"``.
    path : Path
        Where it should be; the name may be a pattern such as ``*.mp4``.
    count : int
        How many files the pattern should match; 1 for a plain name.
    n_bytes : int or None
        About how large (all of them), to say how much is missing.
    problem : callable or None
        Looks into a file that is there. Not used with a pattern.
    """

    group: str
    path: Path
    count: int = 1
    n_bytes: int | None = None
    problem: Problem | None = None


@dataclass(frozen=True)
class Finding:
    """What became of one expected file; ``detail`` says what is wrong or how many are missing."""

    expected: Expected
    state: Literal["found", "missing", "wrong"]
    detail: str = ""


@dataclass(frozen=True)
class Inventory:
    """All findings, in the order of what was expected."""

    findings: tuple[Finding, ...]

    @property
    def complete(self) -> bool:
        """Whether everything was found and nothing is wrong."""
        return all(finding.state == "found" for finding in self.findings)

    @property
    def missing_bytes(self) -> int:
        """About how large the missing files are, as far as that is known."""
        return sum(finding.expected.n_bytes or 0 for finding in self.findings if finding.state == "missing")

    def groups(self) -> dict[str, tuple[Finding, ...]]:
        """Return the findings of each group, in order."""
        names = dict.fromkeys(finding.expected.group for finding in self.findings)
        return {name: tuple(f for f in self.findings if f.expected.group == name) for name in names}


def take_inventory(expected: Iterable[Expected]) -> Inventory:
    """Hold the files against what is expected of them."""
    return Inventory(tuple(_look(each) for each in expected))


def _look(expected: Expected) -> Finding:
    if expected.count > 1:
        n_found = sum(1 for path in expected.path.parent.glob(expected.path.name) if path.is_file())
        if n_found < expected.count:
            return Finding(expected, "missing", f"{n_found} of {expected.count} files")
        if n_found > expected.count:
            return Finding(expected, "wrong", f"{n_found} files; there should be {expected.count}")
        return Finding(expected, "found")
    if not expected.path.is_file():
        return Finding(expected, "missing")
    if expected.problem is not None:
        try:
            detail = expected.problem(expected.path)
        except VoxelcastError as error:
            detail = str(error).replace(str(expected.path), expected.path.name)
        if detail:
            return Finding(expected, "wrong", detail)
    return Finding(expected, "found")


def shown_size(n_bytes: float) -> str:
    """Express a number of bytes for people: ``"2.6 GB"`` (powers of 1000)."""
    for unit in ("bytes", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB" if n_bytes < 1000 else f"{n_bytes / 1000:.1f} TB"
