"""One experiment as the page shows it: its results, how far its run is, or why it cannot be read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from voxelcast.app.discovery import Found
from voxelcast.core.errors import DataError, VoxelcastError
from voxelcast.execution.journal import FILE_NAME
from voxelcast.execution.status import RunStatus, read_status
from voxelcast.report.summary import config_networks
from voxelcast.results.read import Results, read_overview
from voxelcast.store.readers.plain import read_yaml

State = Literal["finished", "running", "stopped", "unreadable"]
_MOST_LETTERS: Final = 2000
STATES: Final[tuple[State, ...]] = ("finished", "running", "stopped", "unreadable")

TAGS: Final = "tags.txt"
"""Written by the user into an output folder: a tag a line."""

_READ: Final = (TAGS, "config.yaml", "scores.csv", "notes.json", "provenance.json", FILE_NAME, ".lock")


@dataclass(frozen=True, eq=False)
class Experiment:
    """One experiment as it was when it was read; read again, it is another."""

    key: str
    """Names it in addresses; made from its folder, which itself never comes from an address."""
    folder: Path
    shown: str
    """The folder below the one that the user named."""
    state: State
    """``stopped``: a run was begun, is not under way and has no end."""
    reason: str
    """Why there are no results; empty where there are."""
    config: Mapping[str, Any]
    """Settings; empty where they cannot be read."""
    results: Results | None
    """Settings, scores, notes and provenance."""
    status: RunStatus | None
    """How far the last run is; None for results of a time when runs kept no journal."""
    has_report: bool
    tags: tuple[str, ...]
    """Lines of tags.txt."""
    changed: datetime
    """When the newest of its files was written, UTC."""

    @property
    def name(self) -> str:
        """Name in the settings, or the folder's."""
        return str(self.config.get("name") or self.folder.name)

    @property
    def dataset(self) -> str:
        """Title of the dataset where the results name it, else its kind."""
        about = self.results.provenance.get("dataset") if self.results else None
        if isinstance(about, Mapping) and about.get("title"):
            return str(about["title"])
        settings = self.config.get("dataset")
        return str(settings.get("kind", "")) if isinstance(settings, Mapping) else ""

    @property
    def networks(self) -> tuple[str, ...]:
        """Networks of the settings, with their weights; of settings that name none, those of the scores."""
        names = config_networks(self.config)
        if not names and self.results:
            names = list(self.results.scores["network"])
        return tuple(dict.fromkeys(names))

    @cached_property
    def layer(self) -> str:
        """The layer chosen most often, and how many others there are; empty without scores."""
        counts = Counter(self.results.scores["layer"]).most_common() if self.results else []
        return f"{counts[0][0]}{f' + {len(counts) - 1}' if len(counts) > 1 else ''}" if counts else ""

    @property
    def encoders(self) -> tuple[str, ...]:
        """Encoders of the settings; of settings that name none, those of the scores."""
        settings = self.config.get("encoders")
        names = [str(n) for n in settings] if isinstance(settings, list) else []
        if not names and self.results:
            names = list(self.results.scores["encoder"])
        return tuple(dict.fromkeys(names))


def experiment_key(folder: Path) -> str:
    """Name a folder in addresses."""
    return hashlib.sha256(str(folder).encode()).hexdigest()[:12]


def fingerprint(folder: Path) -> tuple[tuple[int, int] | None, ...]:
    """Say in which state the files are that an experiment is read from: time of change and size of each."""
    marks: list[tuple[int, int] | None] = []
    for name in (*_READ, "report.html"):
        try:
            about = (folder / name).stat()
        except OSError:
            marks.append(None)
        else:
            marks.append((about.st_mtime_ns, about.st_size))
    return tuple(marks)


def read_experiment(found: Found) -> Experiment:
    """Read an experiment; what is wrong with it becomes its ``reason``."""
    folder = found.folder
    results, reason = _results(folder)
    status, trouble = _status(folder)
    state: State
    if status is not None and status.state == "running":
        state, reason = "running", ""
    elif status is not None and status.state == "not running":
        state = "stopped"
        reason = _why_stopped(results)
    elif results is not None:
        state = "finished"
    else:
        state, reason = "unreadable", trouble or reason
    times = [mark[0] for mark in fingerprint(folder) if mark is not None]
    return Experiment(
        key=experiment_key(folder),
        folder=folder,
        shown=found.shown,
        state=state,
        reason=reason,
        config=results.config if results else _config(folder),
        results=results,
        status=status,
        tags=_tags(folder),
        has_report=(folder / "report.html").is_file(),
        changed=datetime.fromtimestamp(max(times, default=0) / 1e9, tz=UTC),
    )


def _tags(folder: Path) -> tuple[str, ...]:
    try:
        lines = (folder / TAGS).read_text(encoding="utf-8", errors="replace")[:_MOST_LETTERS].splitlines()
    except OSError:
        return ()
    return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))


def _results(folder: Path) -> tuple[Results | None, str]:
    if not (folder / "config.yaml").is_file():
        return None, "no config.yaml: a run was stopped before it did anything; run it again, or delete the folder"
    try:
        return read_overview(folder), ""
    except (VoxelcastError, OSError) as error:
        return None, str(error)


def _why_stopped(results: Results | None) -> str:
    if results is None:
        return "the run was stopped before its end; run the same command again to go on"
    n = len(results.missing)
    return f"incomplete: {n} subject x ROI failed; the same command runs just {'it' if n == 1 else 'them'}" if n else ""


def _status(folder: Path) -> tuple[RunStatus | None, str]:
    if not (folder / FILE_NAME).is_file():
        return None, ""
    try:
        return read_status(folder), ""
    except (VoxelcastError, OSError) as error:
        return None, str(error)


def _config(folder: Path) -> Mapping[str, Any]:
    """Read the settings of an experiment without results, as far as they can be read."""
    try:
        config = read_yaml(folder / "config.yaml", "settings")
    except (VoxelcastError, OSError):
        return {}  # the reason says so already
    return config if isinstance(config, dict) else {}


def need_results(experiment: Experiment) -> Results:
    """Return the results of an experiment; raise DataError if there are none."""
    if experiment.results is None:
        raise DataError(
            f"{experiment.name} ({experiment.shown}) is {experiment.state} and has no scores; choose others"
        )
    return experiment.results
