"""Which frames of a video are looked at, and how its sound is heard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal, TypeVar

import numpy as np
from annotated_types import Ge, Gt, Lt

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import OptionError
from voxelcast.core.settings import settings

# Containers such as Matroska round each frame's time to a millisecond, so the distance of two is off by up to one.
CLOCK_S = 1.001e-3

FrameT = TypeVar("FrameT")


@settings
class FrameSampling:
    """Every k-th frame, n frames evenly spaced, or so many per second; exactly one of the three.

    At any moment the frame on the screen is the last one whose time has come (up to 1 ms, to which containers round).

    Parameters
    ----------
    every : int or None
        Keep frames ``first``, first + k, first + 2k, ... They are counted, so that in a video of variable frame rate
        they are not evenly spaced in time.
    n : int or None
        Keep the frames on the screen at the centres of n equal parts of the video's duration; a video with fewer
        frames is divided into as many parts as it has frames. Where frames have no times, or even ones, these are the
        centres of n equal parts of the sequence of frames.
    hz : float or None
        Keep the frame on the screen at the first frame's time and every 1/hz seconds after, until the video ends. A
        frame that stays on for longer is kept as often, so that an average over the frames kept is one over time, also
        where the frame rate varies or is lower than ``hz``.
    first : int
        Of ``every``: the first frame kept; k - 1 in 2021.
    """

    every: Annotated[int, Ge(1)] | None = None
    n: Annotated[int, Ge(1)] | None = None
    hz: Annotated[float, Gt(0), Lt(np.inf)] | None = None
    first: Annotated[int, Ge(0)] = 0

    def __post_init__(self) -> None:
        if [self.every, self.n, self.hz].count(None) != 2:
            raise OptionError(
                "set exactly one of every (keep each k-th frame), n (keep n evenly spaced frames) and hz (look so "
                f"often per second); got every={self.every}, n={self.n}, hz={self.hz}"
            )
        if self.first and self.every is None:
            raise OptionError(f"first goes with every alone; got first={self.first}; leave it out")

    def counts(self, index: int) -> bool:
        """Say whether a frame is kept, by its index in the video, where every k-th one is."""
        return index >= self.first and (index - self.first) % (self.every or 1) == 0

    def choose(self, times: FloatArray, end: float) -> tuple[IntArray, FloatArray]:
        """Choose frames of a video.

        Raises OptionError if ``hz`` is asked for and times are not known.

        Parameters
        ----------
        times : ndarray of shape (n_frames,)
            When each frame comes on the screen, in seconds; NaN where not known.
        end : float
            When the last one goes off.

        Returns
        -------
        indices : ndarray of int, shape (n_kept,)
            In order of time.
        moments : ndarray of shape (n_kept,)
            When they are looked at: the times of the frames or, in a video of variable rate and at a rate in Hz, the
            moments asked for.
        """
        n_frames = len(times)
        if self.every is not None:
            if self.first >= n_frames:
                raise OptionError(f"frames.first must be below the number of frames, {n_frames}; got {self.first}")
            indices: IntArray = np.arange(self.first, n_frames, self.every)
            return indices, times[indices]
        known = bool(np.isfinite(times).all() and np.isfinite(end) and (np.diff(times) >= 0).all())
        if self.hz is not None:
            if not known:
                raise OptionError("frames.hz needs times of frames; got none; set frames.every or frames.n")
            taken = list(at_rate(zip(times, times, np.diff(times, append=end), strict=True), self.hz))
            return np.array([index for _, index, _ in taken], dtype=np.int64), np.array([at for *_, at in taken])
        parts = min(self.n or n_frames, n_frames)
        centres = 2 * np.arange(parts) + 1
        if not known or _even(times):
            indices = (centres * n_frames // (2 * parts)).astype(np.int64)
            return indices, times[indices]
        moments = times[0] + centres * (end - times[0]) / (2 * parts)
        on_screen: IntArray = np.searchsorted(times, moments + CLOCK_S, side="right") - 1
        return on_screen.clip(min=0), moments


@settings
class SoundSampling:
    """How a stimulus is heard.

    Parameters
    ----------
    hz : float
        Moments per second that have features.
    look_back, look_ahead : float
        Seconds of sound before and after a moment that its window holds; ``look_back`` is at least 1/hz.
    channels : {"mono", "stereo"}
        The mean of all channels; or two (a mono track twice).
    missing : {"stop", "silence"}
        What becomes of a stimulus without sound: it counts as broken, or as silent.
    """

    hz: Annotated[float, Gt(0), Lt(np.inf)] = 2.0
    look_back: Annotated[float, Gt(0), Lt(np.inf)] = 4.0
    look_ahead: Annotated[float, Ge(0), Lt(np.inf)] = 0.0
    channels: Literal["mono", "stereo"] = "mono"
    missing: Literal["stop", "silence"] = "stop"

    def __post_init__(self) -> None:
        if self.look_back * self.hz < 1 - 1e-9:
            raise OptionError(
                f"sound.look_back must be at least 1/hz = {1 / self.hz:g} s, or some sound is never heard; got "
                f"{self.look_back}"
            )

    @property
    def seconds(self) -> float:
        """How long a window is."""
        return self.look_back + self.look_ahead


def at_rate(frames: Iterable[tuple[FrameT, float, float]], hz: float) -> Iterator[tuple[FrameT, int, float]]:
    """Sample what is on the screen every 1/hz seconds, from frames that come one by one.

    Each is given as (frame, time, duration), in order of time, in seconds. Of the durations only the last counts: the
    video ends after it. Where it is 0 or below, the last frame stays for as long as the one before it.

    Yields (frame, index, moment): the frame, its index in the video, and the moment at which it is looked at, on the
    clock of ``time``.
    """
    held: FrameT | None = None
    start = since = step = last = 0.0
    taken, index = 0, -1
    for frame, time, duration in frames:
        if held is None:
            start = since = time
        while held is not None and start + taken / hz < time - CLOCK_S:
            yield held, index, start + taken / hz
            taken += 1
        step, since, last, held, index = time - since, time, duration, frame, index + 1
    end = since + (last if last > 0 else step) - CLOCK_S
    # The first moment always counts: a video of one frame without a duration is still that frame.
    while held is not None and (taken == 0 or start + taken / hz < end):
        yield held, index, start + taken / hz
        taken += 1


def _even(times: FloatArray) -> bool:
    """Say whether frames come on at a constant rate, up to the rounding of their times."""
    if len(times) < 2:
        return True
    straight = np.linspace(times[0], times[-1], len(times))
    return bool(np.abs(times - straight).max() <= CLOCK_S)
