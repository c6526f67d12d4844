"""How long responses take to be read: measured on the smallest files, or told by their headers."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from voxelcast.core.cost import Cost
from voxelcast.core.errors import VoxelcastError
from voxelcast.datasets.base import ResponseSet
from voxelcast.datasets.readers.shared_reading import MOST_KEPT
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning.fits import responses_steps
from voxelcast.results.schema import Pair
from voxelcast.scoring.exchangeability import response_warnings

_MOST_READ = 1_000_000_000
"""Bytes of files that are read for a measurement; of larger ones a typical rate is taken."""
_MOST_READ_TOGETHER = 20_000_000
"""The same where the reading of one ROI is that of all, so that it would be done twice."""
_TYPICAL_RATE = 5e7
"""Bytes of files read in a second."""
_CHECKING = 1000.0
"""Operations for each response, of every repetition, whose noise ceiling is estimated."""


def reading_cost(plan: Plan, look: bool) -> tuple[Cost, dict[Pair, int], list[str]]:
    """Measure how long responses take to be read, on the smallest files that are left, and count what checks them.

    Voxels are counted where they are known.

    Datasets may keep files that several ROIs share: of such the second reading counts. What was read is looked at for
    responses that depend on each other.
    """
    steps = responses_steps(plan)
    voxels = {
        pair: int(plan.store.read(step.step_id).json("facts")["n_voxels"])
        for pair, step in steps.items()
        if plan.store.is_sound(step.step_id)
    }
    files = {pair: plan.dataset.response_files(*pair) for pair in steps if pair not in voxels}
    sizes = {pair: sum(path.stat().st_size for path in paths) for pair, paths in files.items()}
    if not sizes:
        return Cost(), voxels, []
    smallest = min(sizes, key=lambda pair: sizes[pair])
    by_header = plan.dataset.reads_together and (plan.dataset.series is not None or not look)
    if by_header and sizes[smallest] > _MOST_READ_TOGETHER:
        return _reading_together(plan, sizes, voxels)
    if sizes[smallest] > _MOST_READ:
        return Cost(seconds=sum(sizes.values()) / _TYPICAL_RATE, memory=3.0 * max(sizes.values())), voxels, []
    sharing = [pair for pair in files if pair != smallest and files[pair] == files[smallest]][:1]
    seconds, held, per_voxel, first = [], 0, 0.0, None
    try:
        for pair in (smallest, *sharing):
            started = time.perf_counter()
            found = [plan.dataset.responses(*pair)]
            if plan.dataset.has_test_responses:
                found.append(plan.dataset.responses(*pair, "test"))
            seconds.append(time.perf_counter() - started)
            voxels[pair], first = found[0].n_voxels, first or found[0]
            held = max(held, sum(responses.values.nbytes for responses in found))
            per_voxel = sum(responses.values.size for responses in found) / max(1, found[0].n_voxels)
    except (VoxelcastError, OSError):  # the step itself will say what is wrong
        return Cost(), voxels, []
    growth = max(sizes.values()) / max(1, sizes[smallest])
    total = seconds[-1] * sum(sizes.values()) / max(1, sizes[smallest]) + seconds[0] - seconds[-1]
    for pair, size in sizes.items():
        voxels.setdefault(pair, max(1, round(voxels[smallest] * size / max(1, sizes[smallest]))))
    warnings = [] if first is None or plan.dataset.series is not None else _response_warnings(plan, first)
    checked = _CHECKING * per_voxel * sum(voxels[pair] for pair in sizes)
    return Cost(checked, seconds=total, memory=3.0 * held * growth), voxels, warnings


def _response_warnings(plan: Plan, responses: ResponseSet) -> list[str]:
    mean, subject = responses.mean(), responses.subject if responses.subject in plan.fold_tables else ""
    known = np.isfinite(mean).all(axis=0)
    said = response_warnings(mean[:, known], plan.folds(responses.stimulus_ids, subject=subject)) if known.any() else []
    return [f"{responses.subject} {responses.roi}: {warning}" for warning in said]


def _reading_together(
    plan: Plan, sizes: Mapping[Pair, int], voxels: dict[Pair, int]
) -> tuple[Cost, dict[Pair, int], list[str]]:
    """Count what it takes to read each subject's files once, by their headers."""
    seconds = memory = checked = 0.0
    for subject in dict.fromkeys(subject for subject, _ in sizes):
        extent = plan.dataset.extent(subject)
        one = 8.0 * extent.n_stimuli * (extent.n_repetitions or 1)
        memory = max(memory, min(MOST_KEPT, one * sum(extent.voxels.values())) + 3 * one * max(extent.voxels.values()))
        seconds += max(size for pair, size in sizes.items() if pair[0] == subject) / _TYPICAL_RATE
        checked += _CHECKING / 8 * one * sum(extent.voxels.values())
        voxels = {(subject, roi): size for roi, size in extent.voxels.items()} | voxels
    return Cost(checked, seconds=seconds, memory=memory), voxels, []
