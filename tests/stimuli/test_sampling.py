from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.stimuli.clips import kept_of
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.stimuli.sampling import FrameSampling, at_rate


@pytest.mark.parametrize("n_frames", [1, 2, 7, 45, 91])
@pytest.mark.parametrize("n", [1, 3, 8, 16])
def test_n_samples_lie_at_the_centres_of_equal_parts(n: int, n_frames: int) -> None:
    indices = kept_of(FrameSampling(n=n), n_frames)
    if n >= n_frames:
        assert indices.tolist() == list(range(n_frames))
    else:
        # Frame i covers [i, i + 1); the centre of part k of n lies at (k + 1/2) n_frames / n.
        assert indices.tolist() == [int((k + 0.5) * n_frames / n + 1e-9) for k in range(n)]
        assert np.all(np.diff(indices) > 0)


@pytest.mark.parametrize("n_frames", [1, 7, 45])
@pytest.mark.parametrize("every", [1, 2, 5])
def test_every_kth(every: int, n_frames: int) -> None:
    assert kept_of(FrameSampling(every=every), n_frames).tolist() == list(range(0, n_frames, every))


@pytest.mark.parametrize("n_frames", [5, 45, 91])
@pytest.mark.parametrize("every", [1, 2, 5])
def test_as_in_2021_every_kth_counted_frame(every: int, n_frames: int) -> None:
    expected = [count - 1 for count in range(1, n_frames + 1) if count % every == 0]
    assert kept_of(FrameSampling(every=every, first=every - 1), n_frames).tolist() == expected


def test_the_first_frame_goes_with_every_and_must_be_there() -> None:
    with pytest.raises(OptionError, match="first goes with every alone"):
        FrameSampling(n=4, first=1)
    with pytest.raises(OptionError, match="below the number of frames, 3; got 3"):
        kept_of(FrameSampling(every=2, first=3), 3)


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"every": 2, "n": 3}, {"every": 0}, {"n": -1}, {"hz": 0}, {"hz": np.inf}, {"hz": np.nan}, {"n": 2, "hz": 3}],
)
def test_exactly_one_of_every_n_and_hz(kwargs: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"set exactly one of every|must be (at least 1|above 0|below inf)"):
        FrameSampling(**kwargs)


def _shown(times: FloatArray, moment: float) -> int:
    """Say which frame is on the screen, by looking at every frame."""
    return max((k for k, time in enumerate(times) if time <= moment + 1e-9), default=0)


VARIABLE = np.array([0.0, 0.1, 0.15, 0.75, 0.8, 1.45, 1.5])


@pytest.mark.parametrize("start", [0.0, 12.5])
@pytest.mark.parametrize("hz", [0.7, 3.1, 5.3, 60.0])
def test_a_rate_keeps_what_is_on_the_screen(hz: float, start: float) -> None:
    indices, moments = FrameSampling(hz=hz).choose(VARIABLE + start, 2.0 + start)
    expected = np.arange(0, 2.0, 1 / hz)
    np.testing.assert_allclose(moments, expected + start)
    assert indices.tolist() == [_shown(VARIABLE, moment) for moment in expected]


def test_averages_over_a_rate_are_averages_over_time() -> None:
    """A frame on for longer weighs more; every=1 weighs all alike."""
    indices, _ = FrameSampling(hz=1000).choose(VARIABLE, 2.0)
    np.testing.assert_allclose(np.bincount(indices) / len(indices), np.diff(VARIABLE, append=2.0) / 2, atol=1.5e-3)


@pytest.mark.parametrize("n", [1, 3, 7])
def test_n_is_even_in_time_where_the_rate_varies(n: int) -> None:
    indices, moments = FrameSampling(n=n).choose(VARIABLE, 2.0)
    np.testing.assert_allclose(moments, (np.arange(n) + 0.5) * 2 / n)
    assert indices.tolist() == [_shown(VARIABLE, moment) for moment in moments]


@pytest.mark.parametrize("fps", [24, 29.97, 30])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_rounding_of_times_to_milliseconds_changes_nothing(fps: float, first: int) -> None:
    exact = np.arange(first, first + 90) / fps
    rounded = exact.round(3)
    for hz in (fps, fps / 2, fps / 5):
        kept = FrameSampling(hz=hz).choose(exact, exact[-1] + 1 / fps)[0]
        assert FrameSampling(hz=hz).choose(rounded, (exact[-1] + 1 / fps).round(3))[0].tolist() == kept.tolist()
    for n in (5, 45, 200):
        kept = FrameSampling(n=n).choose(rounded, rounded[-1] + 0.03)[0]
        assert kept.tolist() == kept_of(FrameSampling(n=n), 90).tolist()


def test_without_times() -> None:
    unknown = np.full(9, np.nan)
    assert FrameSampling(n=3).choose(unknown, np.nan)[0].tolist() == [1, 4, 7]
    with pytest.raises(OptionError, match=r"frames\.hz needs times"):
        FrameSampling(hz=2).choose(unknown, np.nan)


def test_a_single_frame_is_seen_once_whatever_its_duration() -> None:
    assert [index for _, index, _ in at_rate([("a", 3.0, 0.0)], 10)] == [0]
    assert [index for _, index, _ in at_rate([("a", 3.0, 0.35)], 10)] == [0, 0, 0, 0]
    assert list(at_rate([], 10)) == []
