"""What a simulation is to contain: its truth, planted before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le

from voxelcast.core.checks import check_file_name, check_option
from voxelcast.core.errors import OptionError
from voxelcast.core.seeds import generator
from voxelcast.core.settings import settings
from voxelcast.datasets.formats.algonauts2021 import EXPECTED_VOXELS, MINI_ROIS, N_TEST, N_TRAIN, SUBJECTS

Driver = tuple[str, str]
"""A network's name and the module path of one of its layers."""


@settings
class SimulationPlan:
    """Size and truth of a simulated data set.

    Parameters
    ----------
    seed : int
    n_train, n_test : int
        Number of videos.
    voxels : mapping of subject to mapping of ROI to int
        Number of voxels.
    drivers : mapping of ROI to (network, layer)
        Which layer's features drive the responses of each ROI.
    fps, seconds, size : int, float, int
        Of the videos; ``size`` is height and width in pixels, even.
    n_repetitions, n_test_repetitions : int
        Presentations of each training and test video.
    signal : float or mapping of ROI to float
        Share of the variance of a single presentation's response that is signal, in (0, 1].
    shared_noise : float
        Share of the noise variance that the voxels of an ROI have in common, in [0, 1].
    n_components : int
        Number of leading principal components of the driving features that make the signal.
    """

    seed: int
    n_train: Annotated[int, Ge(2)]
    n_test: Annotated[int, Ge(0)]
    voxels: Mapping[str, Mapping[str, int]]
    drivers: Mapping[str, Driver]
    fps: Annotated[int, Ge(1)] = 15
    seconds: float = 1.0
    size: Annotated[int, Ge(8)] = 64
    n_repetitions: Annotated[int, Ge(1)] = 3
    n_test_repetitions: Annotated[int, Ge(1)] = 10
    signal: float | Mapping[str, float] = 0.3
    shared_noise: Annotated[float, Ge(0), Le(1)] = 0.4
    n_components: Annotated[int, Ge(1)] = 20

    def __post_init__(self) -> None:
        self._check_sizes()
        undriven = [roi for roi in self.rois if roi not in self.drivers]
        if undriven:
            raise OptionError(f"drivers must name a (network, layer) for every ROI; missing: {', '.join(undriven)}")
        for roi in self.rois:
            if not 0 < self.signal_share(roi) <= 1:
                raise OptionError(f"signal must lie in (0, 1]; got {self.signal_share(roi)} for ROI {roi}")

    def _check_sizes(self) -> None:
        if self.n_frames < 1:
            raise OptionError(f"frames (fps * seconds) must be at least 1; got {self.n_frames}")
        if self.size % 2:
            raise OptionError(f"size must be even, for H.264 video; got {self.size}")
        # File names hold four digits, and their sorted order is the order of the stimuli.
        if self.n_train + self.n_test > 9999:
            raise OptionError(f"n_train + n_test must be at most 9999; got {self.n_train + self.n_test}")
        if not self.voxels or not all(self.voxels.values()):
            raise OptionError("voxels must name at least one subject, and one ROI for each")
        for subject, rois in self.voxels.items():
            check_file_name(subject, "subject")
            for roi, n_voxels in rois.items():
                check_file_name(roi, "ROI")
                if n_voxels < 1:
                    raise OptionError(f"every ROI must have a voxel; got {n_voxels} for {subject} {roi}")

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of the subjects."""
        return tuple(self.voxels)

    @property
    def rois(self) -> tuple[str, ...]:
        """Names of all ROIs, in the order in which they first come."""
        return tuple(dict.fromkeys(roi for rois in self.voxels.values() for roi in rois))

    @property
    def n_frames(self) -> int:
        """Frames per video."""
        return round(self.fps * self.seconds)

    def signal_share(self, roi: str) -> float:
        """Share of a single presentation's variance that is signal."""
        return float(self.signal[roi] if isinstance(self.signal, Mapping) else self.signal)

    def noise_ceiling_r(self, roi: str, n_repetitions: int) -> float:
        """Best correlation with the mean of k repetitions: ``sqrt(s / (s + (1 - s) / k))``."""
        share = self.signal_share(roi)
        return float(np.sqrt(share / (share + (1 - share) / n_repetitions)))


def simulation_preset(
    name: Literal["demo", "challenge"], drivers: Mapping[str, Driver], *, seed: int = 0, **changes: Any
) -> SimulationPlan:
    """Return a plan of one of two sizes.

    Parameters
    ----------
    name : {"demo", "challenge"}
        ``demo``: ten subjects, nine ROIs of 8 to 14 voxels, 160 + 40 videos of one second, 64 pixels, 15 frames per
        second. ``challenge``: the Algonauts 2021 challenge's numbers of subjects, voxels (mini track, 29,623) and
        videos (1000 + 102 of three seconds).
    drivers : mapping of ROI to (network, layer)
        For each of the nine ROIs of the mini track.
    **changes
        Other fields of :class:`SimulationPlan` to set.
    """
    check_option("preset", name, ("demo", "challenge"))
    if name == "challenge":
        voxels = {subject: {roi: EXPECTED_VOXELS[subject][roi] for roi in MINI_ROIS} for subject in SUBJECTS}
        plan = SimulationPlan(seed, N_TRAIN, N_TEST, voxels, drivers, seconds=3.0)
    else:
        rng = generator(seed, "demo voxels")
        voxels = {subject: {roi: int(rng.integers(8, 15)) for roi in MINI_ROIS} for subject in SUBJECTS}
        plan = SimulationPlan(seed, 160, 40, voxels, drivers)
    return replace(plan, **changes)


def resize_plan(plan: SimulationPlan, subjects: int | None, voxels: int | None) -> SimulationPlan:
    """Give the plan another number of subjects (sub01, sub02, ...) and of voxels in every ROI."""
    names = plan.subjects if subjects is None else [f"sub{number:02d}" for number in range(1, subjects + 1)]
    counts = list(plan.voxels.values())
    table = {
        name: {roi: n if voxels is None else voxels for roi, n in counts[index % len(counts)].items()}
        for index, name in enumerate(names)
    }
    return replace(plan, voxels=table)
