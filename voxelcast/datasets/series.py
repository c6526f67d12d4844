"""Continuous recordings: a stimulus is what was there during one volume (TR) of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from voxelcast.core.errors import DataError, OptionError
from voxelcast.datasets.base import Dataset, Split
from voxelcast.stimuli.stimulus import Stimulus


@dataclass(frozen=True)
class SeriesRun:
    """One run; ``path`` is the movie that was shown, or the file that says what happened."""

    name: str
    n_volumes: int
    path: Path
    split: Split


class SeriesDataset(Dataset):
    """A dataset of runs; subclasses call :meth:`_set_runs` when they know theirs.

    The id of volume k of a run is ``<run>/tr<k>``. Volumes that are dropped at the ends of a run are neither fitted nor
    predicted, but their stimuli are still there for the delays of the volumes after them (``context_stimuli``).
    """

    tr: float

    def _set_runs(self, runs: Sequence[SeriesRun], *, drop_first: int, drop_last: int) -> None:
        if drop_first < 0 or drop_last < 0:
            raise OptionError(f"drop_first and drop_last must be at least 0; got {drop_first} and {drop_last}")
        for run in runs:
            if run.n_volumes <= drop_first + drop_last:
                raise DataError(
                    f"run {run.name} must have more than the {drop_first} + {drop_last} volumes that are dropped; "
                    f"got {run.n_volumes}; drop fewer"
                )
        if not any(run.split == "train" for run in runs):
            raise DataError("no run is left for training; name fewer test runs, or choose more runs")
        self.series_runs = tuple(runs)
        self._dropped = (drop_first, drop_last)
        parts: dict[Split, list[Stimulus]] = {"train": [], "test": []}
        context: list[Stimulus] = []
        self._series: dict[str, tuple[str, int]] = {}
        for run in runs:
            kept = self.kept_volumes(run)
            for volume in range(run.n_volumes):
                stimulus = Stimulus(run.name, run.path).volume(volume, self.tr if self.can_be_shown else None)
                self._series[stimulus.stimulus_id] = (run.name, volume)
                (parts[run.split] if volume in kept else context).append(stimulus)
        self._stimuli = {split: tuple(stimuli) for split, stimuli in parts.items()}
        self._context = tuple(context)

    def kept_volumes(self, run: SeriesRun) -> range:
        """Volumes of a run that are fitted or predicted."""
        first, last = self._dropped
        return range(first, run.n_volumes - last)

    def runs_of(self, split: Split) -> tuple[SeriesRun, ...]:
        """Return the runs of one split, in order."""
        return tuple(run for run in self.series_runs if run.split == split)

    def notes(self) -> tuple[str, ...]:
        """Say which movies end more than a volume before their run, by the length that their files claim."""
        from voxelcast.stimuli.container import claimed_seconds

        short = []
        for run in self.series_runs if self.can_be_shown else ():
            seconds = claimed_seconds(Stimulus(run.name, run.path))
            needed = self.kept_volumes(run).stop * self.tr
            if seconds is not None and needed - seconds > self.tr:
                short.append(f"{run.path} lasts {seconds:.4g} s and run {run.name} {needed:.4g} s")
        more = f" (and {len(short) - 1} more movies are shorter than their runs)" if len(short) > 1 else ""
        return (f"{short[0]}{more}: check tr, or leave the end out with drop_last",) if short else ()

    @property
    def context_stimuli(self) -> tuple[Stimulus, ...]:
        """Volumes that were dropped."""
        return self._context

    @property
    def series(self) -> Mapping[str, tuple[str, int]]:
        """Run and index in it of each volume."""
        return self._series

    @property
    def groups(self) -> Mapping[str, str]:
        """The run of each volume: volumes of one run never straddle a fold."""
        return {stimulus_id: run for stimulus_id, (run, _) in self._series.items()}
