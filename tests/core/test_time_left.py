"""The time left is told without jumps, whatever the steps' durations, the number of workers and the forecast."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from voxelcast.core.progress import TimeLeft
from voxelcast.core.seeds import generator

LOOK = 2.0  # seconds between two looks


def simulated(n: int, workers: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """When steps begin and end that last 10 s on average, on workers that take 6 s to start."""
    slots, begins, ends = [6.0] * workers, [], []
    for seconds in generator(seed, "durations").lognormal(np.log(8), 0.6, n):
        begin = heapq.heappop(slots)
        begins.append(begin)
        ends.append(begin + seconds)
        heapq.heappush(slots, ends[-1])
    return np.array(begins), np.array(ends)


@pytest.mark.parametrize("workers", [1, 2, 16])
@pytest.mark.parametrize("off", [0.5, 1.0, 2.0, None])
def test_what_is_said_changes_smoothly_and_comes_true(workers: int, off: float | None) -> None:
    for seed in range(10):
        begins, ends = simulated(90 * max(1, workers // 4), workers, seed)
        whole = float(ends.max())
        left, said, halfway = TimeLeft(len(ends), None if off is None else off * whole), None, None
        for now in np.arange(0.0, whole, LOOK):
            running = int(((begins <= now) & (ends > now)).sum())
            before, said = said, left.seconds(float(now), int((ends <= now).sum()), running)
            if before is not None:
                assert said is not None
                assert abs(before - LOOK - said) <= max(0.4 * before, 15)
            if now <= whole / 2:
                halfway = said
        assert halfway == pytest.approx(whole / 2, rel=0.6)


def test_the_first_of_many_side_by_side_does_not_stand_for_all() -> None:
    left = TimeLeft(64)
    assert left.seconds(10.0, 0, 16) is None
    first = left.seconds(12.0, 1, 15)
    assert first is not None
    assert first < 0.2 * 12 * 63


def test_where_processes_start_slowly_and_looks_are_few() -> None:
    """A network took 58 s to load, then 4 stimuli passed in a second: not 365 s left where 8 s are."""
    left = TimeLeft(80)
    first, second = left.seconds(60.0, 8), left.seconds(70.0, 48)
    assert first is not None
    assert second is not None
    assert 8.0 <= second < 25.0
