"""Parts of a video: the frames on the screen in that time, whether sought or decoded from the beginning."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.stimuli.clips import as_stimulus, numbers, ramp, remux
from voxelcast.core.errors import OptionError, StimulusError
from voxelcast.stimuli.decode import iter_frames
from voxelcast.stimuli.encode import write_video
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus

FPS, N = 10, 45
ALL = FrameSampling(every=1)


@pytest.fixture(scope="module", params=["mp4", "mkv", "shifted"])
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stimulus:
    folder: Path = tmp_path_factory.mktemp("segment")
    write_video(folder / "ramp.mp4", ramp(N), FPS)
    if request.param == "mp4":
        return as_stimulus(folder / "ramp.mp4")
    remux(folder / "ramp.mp4", folder / "other.mkv", shift_s=3.0 if request.param == "shifted" else 0.0)
    return as_stimulus(folder / "other.mkv")


def _seen(video: Stimulus, start: float, stop: float, sampling: FrameSampling = ALL) -> tuple[list[int], list[float]]:
    chunks = list(iter_frames(replace(video, seconds=(start, stop)), sampling))
    return numbers(np.concatenate([c.frames for c in chunks])), [float(t) for c in chunks for t in c.times]


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0.0, 0.3, [0, 1, 2]),
        (1.5, 2.0, [15, 16, 17, 18, 19]),
        (1.55, 1.75, [15, 16, 17]),
        (4.45, 4.6, [44]),
        (4.4, 9.0, [44]),
        (6.0, 7.0, [44]),
        (3.02, 3.06, [30]),
    ],
)
def test_frames_are_those_on_the_screen(video: Stimulus, start: float, stop: float, expected: list[int]) -> None:
    found, times = _seen(video, start, stop)
    assert found == expected
    np.testing.assert_allclose(times, np.maximum(start, np.array(expected) / FPS), atol=2e-3)


def test_parts_side_by_side_are_the_whole(video: Stimulus) -> None:
    whole = np.concatenate([chunk.frames for chunk in iter_frames(video, ALL)])
    edges = [0.0, 0.7, 1.4, 2.9, 4.5]
    parts = [
        chunk.frames
        for start, stop in pairwise(edges)
        for chunk in iter_frames(replace(video, seconds=(start, stop)), ALL)
    ]
    assert (np.concatenate(parts) == whole).all()


def test_sampling_is_that_of_the_part(video: Stimulus) -> None:
    assert _seen(video, 1.0, 2.0, FrameSampling(n=2))[0] == [12, 17]
    assert _seen(video, 1.0, 2.0, FrameSampling(every=4))[0] == [10, 14, 18]
    assert _seen(video, 1.0, 2.0, FrameSampling(every=4, first=3))[0] == [13, 17]
    found, times = _seen(video, 1.0, 2.0, FrameSampling(hz=5))
    assert found == [10, 12, 14, 16, 18]
    np.testing.assert_allclose(times, [1.0, 1.2, 1.4, 1.6, 1.8], atol=2e-3)


def test_refuses_what_is_no_part(video: Stimulus) -> None:
    with pytest.raises(StimulusError, match=r"must last until 60 s, and its last frame comes on at 4\.4"):
        _seen(video, 60.0, 61.0)
    with pytest.raises(OptionError, match="0 <= start < end"):
        _seen(video, 2.0, 2.0)


def test_parts_of_one_file_have_hashes_of_their_own(video: Stimulus) -> None:
    parts = [replace(video, seconds=(k / 2, k / 2 + 0.5)) for k in range(4)]
    hashes = {part.content_hash() for part in (video, *parts)}
    assert len(hashes) == 5
    assert replace(parts[0], stimulus_id="another").content_hash() == parts[0].content_hash()


@pytest.mark.parametrize("name", ["pytorch+torchcodec/nasa_13013.mp4", "pytorch+torchcodec/av1_video.mkv"])
def test_seeking_a_real_video_gives_the_frames_of_decoding_it_all(real_data: Path, name: str) -> None:
    path = real_data / "videos" / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    whole = list(iter_frames(as_stimulus(path), ALL))
    frames = np.concatenate([chunk.frames for chunk in whole])
    times = np.concatenate([chunk.times for chunk in whole])
    times -= times[0]
    for start in np.linspace(0, times[-1] * 0.9, 7):
        stop = start + 0.7
        first = np.searchsorted(times, start + 1e-3, side="right") - 1
        last = np.searchsorted(times, stop - 1e-3)
        part = iter_frames(replace(as_stimulus(path), seconds=(float(start), float(stop))), ALL)
        assert (np.concatenate([chunk.frames for chunk in part]) == frames[first:last]).all()
