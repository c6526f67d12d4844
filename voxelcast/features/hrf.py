r"""Haemodynamic responses in seconds: double-gamma ones, and those that were measured.

With g(t; k, s) the gamma density of shape k and scale s,

    h(t) = g(t; peak, s) - ratio g(t; under, s),

the response rises to its largest near ``(peak - 1) s`` seconds and undershoots near ``(under - 1) s`` [1]_.

References
----------
.. [1] Glover, G. H. (1999). Deconvolution of impulse response in event-related BOLD fMRI. NeuroImage 9, 416-429.
   https://doi.org/10.1006/nimg.1998.0419
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.special import gammainc
from scipy.stats import gamma

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, OptionError


class Kernel(ABC):
    """A haemodynamic response function."""

    @property
    @abstractmethod
    def latency(self) -> float:
        """Seconds after which the response is near its largest."""

    @abstractmethod
    def __call__(self, times: FloatArray) -> FloatArray:
        """Give the response at times in seconds after a brief event."""

    @abstractmethod
    def twice_integrated(self, times: FloatArray) -> FloatArray:
        """Integrate the response twice from 0 to times in seconds, none of them below 0."""

    def frame_weights(self, times: FloatArray) -> FloatArray:
        r"""Weigh frames by what they add to the response, averaged over the clip.

        Activation holds from a frame to the next, the last for as long as the one before it. Convolved with h and
        averaged over the clip, which ends at T, the frame from a to b has the weight

            w = \int_a^b \int_0^{T - u} h(t) dt du,

        in closed form. Of times (n_frames,), rising, when each frame is first shown in seconds, weights have the same
        shape and are scaled to a sum of 1; a single frame has 1. Raises DataError if times do not rise, or the clip
        ends before any response.
        """
        steps = np.diff(times)
        if not (steps > 0).all():
            raise DataError(f"times of frames must be there and rise; got a step of {steps.min()} s; check the video")
        if len(times) == 1:
            return np.ones(1)
        left = np.append(times[-1] + steps[-1] - times, 0.0)
        weights = -np.diff(self.twice_integrated(left))
        total = weights.sum()
        if not total > np.finfo(np.float64).tiny:
            raise DataError(
                f"a clip of {left[0]:.3g} s ends before the BOLD kernel (largest near {self.latency:.3g} s) responds; "
                "choose an earlier peak or pool=mean"
            )
        scaled: FloatArray = weights / total
        return scaled


@dataclass(frozen=True)
class DoubleGamma(Kernel):
    """The difference of two gamma densities.

    ``peak`` and ``under`` are the shapes of the response and of its undershoot, ``0 < peak < under``; ``ratio``, from 0
    to below 1, is the size of the undershoot, and ``scale`` is in seconds. Raises OptionError for anything else.
    """

    peak: float = 6.0
    under: float = 16.0
    ratio: float = 1 / 6
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.peak < self.under < np.inf and 0 <= self.ratio < 1 and 0 < self.scale < np.inf):
            raise OptionError(
                "a BOLD kernel must have 0 < peak < under, 0 <= ratio < 1 and a scale above 0 seconds; "
                f"got peak={self.peak}, under={self.under}, ratio={self.ratio}, scale={self.scale}"
            )

    @property
    def latency(self) -> float:
        """Largest of the rising part, in seconds."""
        return (self.peak - 1) * self.scale

    def __call__(self, times: FloatArray) -> FloatArray:
        """Give the response at times in seconds after a brief event."""
        rise = gamma.pdf(times, self.peak, scale=self.scale)
        response: FloatArray = rise - self.ratio * gamma.pdf(times, self.under, scale=self.scale)
        return response

    def twice_integrated(self, times: FloatArray) -> FloatArray:
        """Integrate twice from 0: of a gamma density that is t P(k, t/s) - k s P(k + 1, t/s)."""
        t = times / self.scale
        rise, fall = (t * gammainc(k, t) - k * gammainc(k + 1, t) for k in (self.peak, self.under))
        integral: FloatArray = rise - self.ratio * fall
        return integral


class MeasuredResponse(Kernel):
    """A response that was measured at some times: straight lines between them, 0 before the first and after the last.

    Parameters
    ----------
    times : ndarray of shape (n_times,)
        Seconds after the event, rising, from 0 or later.
    values : ndarray of shape (n_times,)
        In any unit: weights of frames are scaled to a sum of 1.

    Raises DataError for less than two of them, other times, or a value that is not finite.
    """

    def __init__(self, times: FloatArray, values: FloatArray) -> None:
        rising = times.ndim == 1 and len(times) >= 2 and times.shape == values.shape and (np.diff(times) > 0).all()
        if not rising or times[0] < 0 or not np.isfinite([times, values]).all():
            raise DataError(
                "a measured response must have at least two finite values at times that rise from 0 s or later; "
                f"got {values.size} values; check the table"
            )
        self.times = np.asarray(times, dtype=np.float64)
        self.values = np.asarray(values, dtype=np.float64)
        line = make_interp_spline(self.times, self.values, k=1)
        self._once, self._twice = line.antiderivative(1), line.antiderivative(2)

    @property
    def latency(self) -> float:
        """Time of the largest value."""
        return float(self.times[self.values.argmax()])

    def __call__(self, times: FloatArray) -> FloatArray:
        """Give the response at times in seconds after a brief event."""
        response: FloatArray = np.interp(times, self.times, self.values, left=0.0, right=0.0)
        return response

    def twice_integrated(self, times: FloatArray) -> FloatArray:
        """Integrate twice from 0; after the last time the first integral stays what it is."""
        inside = np.clip(times, self.times[0], self.times[-1])
        integral: FloatArray = self._twice(inside) + self._once(inside) * np.maximum(times - self.times[-1], 0.0)
        return integral


def kernels() -> dict[str, DoubleGamma]:
    """Name the kernels: the canonical one, and the three of the 2021 pipeline.

    Those of 2021 were laid over a 3-second clip in steps of 0.03 s, so that they peak at 0.6, 1.8 and 1.2 s.
    """
    return {
        "bold": DoubleGamma(),
        "bold_2021_1": DoubleGamma(20, 40, 0.35, 0.03),
        "bold_2021_2": DoubleGamma(60, 80, 0.5, 0.03),
        "bold_2021_3": DoubleGamma(40, 60, 0.35, 0.03),
    }
