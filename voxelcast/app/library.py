"""All experiments in the folders named, read again only where something changed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from voxelcast.app.discovery import check_folders, find_experiments
from voxelcast.app.experiment import Experiment, fingerprint, read_experiment
from voxelcast.core.errors import UnknownNameError

Mark = tuple[tuple[int, int] | None, ...]


class Library:
    """The experiments in output folders, or in folders that hold them; raises MissingFileError if one is no folder.

    Whatever asks for one names it by its key; a path never comes from outside.
    """

    def __init__(self, outputs: Sequence[Path]) -> None:
        self.roots = check_folders(outputs)
        self._read: dict[Path, tuple[Mark, Experiment]] = {}
        self._lock = threading.Lock()  # requests are answered in threads

    def experiments(self) -> list[Experiment]:
        """List all experiments as they are now, by folder."""
        with self._lock:
            kept = {}
            for found in find_experiments(self.roots):
                mark = fingerprint(found.folder)
                before = self._read.get(found.folder)
                # A run under way shows in its store, which is not among the files looked at.
                if before is None or before[0] != mark or before[1].state == "running":
                    before = (mark, read_experiment(found))
                kept[found.folder] = before
            self._read = kept
            return [experiment for _, experiment in kept.values()]

    def get(self, key: str) -> Experiment:
        """Return the experiment of a key; raise UnknownNameError if there is none."""
        for experiment in self.experiments():
            if experiment.key == key:
                return experiment
        raise UnknownNameError(f"no experiment has the address {key!r}; it may have been moved: go back to the list")
