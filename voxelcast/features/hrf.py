r"""Haemodynamic responses in seconds: double-gamma ones, and those that were measured, read from a table.

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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.special import gammainc

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_known, check_option, home_expanded
from voxelcast.core.errors import DataError, OptionError
from voxelcast.store.keys import file_hash
from voxelcast.store.readers.arrays import open_npy
from voxelcast.store.readers.tables import as_numbers, number_of, table_rows

LENGTH = 40.0
"""Seconds after which nothing is left of the canonical response: below a ten-thousandth of its largest."""
TIME_NAMES = ("time", "times", "time_s", "seconds", "t")


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
        return np.asarray(weights / total)


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
        from scipy.stats import gamma  # takes a second to import, and settings are checked without it

        rise = gamma.pdf(times, self.peak, scale=self.scale)
        return np.asarray(rise - self.ratio * gamma.pdf(times, self.under, scale=self.scale))

    def integrated(self, times: FloatArray) -> FloatArray:
        """Integrate from 0: of a gamma density that is P(k, t/s); 0 before."""
        t = np.maximum(times, 0.0) / self.scale
        return np.asarray(gammainc(self.peak, t) - self.ratio * gammainc(self.under, t))

    def twice_integrated(self, times: FloatArray) -> FloatArray:
        """Integrate twice from 0: of a gamma density that is t P(k, t/s) - k s P(k + 1, t/s)."""
        t = times / self.scale
        rise, fall = (t * gammainc(k, t) - k * gammainc(k + 1, t) for k in (self.peak, self.under))
        return np.asarray(rise - self.ratio * fall)


class MeasuredResponse(Kernel):
    """A response that was measured at some times: straight lines between them, 0 before the first and after the last.

    Times (n_times,) are seconds after the event, rising, from 0 or later; values (n_times,) are in any unit: weights of
    frames are scaled to a sum of 1. Raises DataError for less than two of them, other times, or a value not finite.
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
        from scipy.interpolate import make_interp_spline

        line = make_interp_spline(self.times, self.values, k=1)
        self._once, self._twice = line.antiderivative(1), line.antiderivative(2)

    @property
    def latency(self) -> float:
        """Time of the largest value."""
        return float(self.times[self.values.argmax()])

    def __call__(self, times: FloatArray) -> FloatArray:
        """Give the response at times in seconds after a brief event."""
        return np.asarray(np.interp(times, self.times, self.values, left=0.0, right=0.0))

    def twice_integrated(self, times: FloatArray) -> FloatArray:
        """Integrate twice from 0; after the last time the first integral stays what it is."""
        inside = np.clip(times, self.times[0], self.times[-1])
        return np.asarray(self._twice(inside) + self._once(inside) * np.maximum(times - self.times[-1], 0.0))


# The canonical kernel, and the three of the 2021 pipeline, which were laid over a 3-second clip in steps of 0.03 s, so
# that they peak at 0.6, 1.8 and 1.2 s.
KERNELS = {
    "bold": DoubleGamma(),
    "bold_2021_1": DoubleGamma(20, 40, 0.35, 0.03),
    "bold_2021_2": DoubleGamma(60, 80, 0.5, 0.03),
    "bold_2021_3": DoubleGamma(40, 60, 0.35, 0.03),
}


@dataclass(frozen=True)
class Basis:
    """The canonical response, or how it changes when it comes ``step`` seconds later: h(t) - h(t - step) [1]_.

    References
    ----------
    .. [1] Friston, K. J. et al. (1998). Event-related fMRI: characterizing differential responses. NeuroImage 7, 30-40.
       https://doi.org/10.1006/nimg.1997.0306
    """

    step: float = 0.0

    def __call__(self, times: FloatArray, integrals: int) -> FloatArray:
        """Integrate it once or twice from 0 to times in seconds; 0 before."""
        kernel = KERNELS["bold"]

        def integral(at: FloatArray) -> FloatArray:
            return kernel.integrated(at) if integrals == 1 else kernel.twice_integrated(np.maximum(at, 0.0))

        return integral(times) - integral(times - self.step) if self.step else integral(times)


def bases(response: str) -> tuple[Basis, ...]:
    """Return what ``double_gamma`` or ``double_gamma+derivative`` stands for."""
    return (Basis(), Basis(1.0)) if response.endswith("+derivative") else (Basis(),)


def response_to_events(
    onsets: FloatArray, durations: FloatArray, values: FloatArray, grid: tuple[int, float], response: str
) -> FloatArray:
    r"""Convolve events with the response, at their own times, and average over the steps of a grid.

    An event from a to b of value v adds to the step from s to e ``v / (e - s) \int_s^e \int_a^b h(t - u) du dt``, in
    closed form. One of duration 0 counts as if all of its value were there at once, for as long as a step.

    Parameters
    ----------
    onsets, durations : ndarray of shape (n_events,)
        Seconds after the grid begins.
    values : ndarray of shape (n_events, n_features)
    grid : (int, float)
        How many steps there are, and how many seconds each is long.

    Returns
    -------
    responses : ndarray of shape (n_steps, n_features * n_bases)
        The first feature at all bases, then the second.
    """
    (n_steps, step), kinds = grid, bases(response)
    found = np.zeros((n_steps, values.shape[1], len(kinds)))
    ends, brief = onsets + durations, durations == 0
    for place in range(n_steps):
        start, end = place * step, (place + 1) * step
        near = (onsets < end) & (ends > start - LENGTH)
        for at, base in enumerate(kinds):
            for some, integrals in ((near & brief, 1), (near & ~brief, 2)):
                a, b = onsets[some], ends[some]
                area = base(end - a, integrals) - base(start - a, integrals)
                if integrals == 2:
                    area = (area - base(end - b, 2) + base(start - b, 2)) / step
                found[place, :, at] += area @ values[some]
    return found.reshape(n_steps, -1)


def parse_parameters(text: str, allowed: Sequence[str], pool: str) -> dict[str, str]:
    """Read ``"name=value, name=value"`` of a pool's brackets."""
    pairs = [[piece.strip() for piece in part.partition("=")] for part in text.split(",") if part.strip()]
    for name, _, _ in pairs:
        check_option(f"a parameter of pool {pool}", name, allowed)
    return {name: value for name, _, value in pairs}


def parse_response(text: str) -> MeasuredResponse:
    """Read the response that a text such as ``"my_hrf.tsv, column=3, step=0.1"`` describes.

    That is the table's path, then, as they are needed, ``column`` and ``step``; see :func:`read_response`, which also
    has the errors.
    """
    path, _, parameters = text.partition(",")
    given = parse_parameters(parameters, ("column", "step"), "hrf(...)")
    if not path.strip():
        raise OptionError("pool hrf(...) needs a table, e.g. hrf(my_hrf.csv, column=V1); got none")
    try:
        step = float(given["step"]) if "step" in given else None
    except ValueError as error:
        raise OptionError(f"step of pool hrf(...) must be a number of seconds; got {given['step']!r}") from error
    table = home_expanded(Path(path.strip()))
    return _read(table, given.get("column"), step, file_hash(table))


def read_response(path: Path, column: str | None = None, step: float | None = None) -> MeasuredResponse:
    """Read a measured response from a table with a row for each time.

    That is a .csv (commas) or .tsv (tabs) with or without a row of names, or a .npy of shape (n_times,) or (n_times,
    n_columns). ``column`` is the name of the response's column, or its number from 0 where there are no names; it may
    be left out where there is only one. ``step`` is seconds between rows, the first of them at 0 s; it is left out
    where a column named time, times, time_s, seconds or t says when each row is.

    Raises MissingFileError or DataError if there is no such file, or it is no table of numbers, and OptionError or
    UnknownNameError if ``column`` or ``step`` are missing, superfluous or not there.
    """
    names, values = _table(path)
    clock = next((index for index, name in enumerate(names) if name.lower() in TIME_NAMES), None)
    if (step is None) == (clock is None) or (step is not None and not 0 < step < np.inf):
        raise OptionError(
            f"pool hrf({path.name}) needs the times of rows: either step=SECONDS above 0, or a column named "
            f"{', '.join(TIME_NAMES)}; got step={step} and columns {', '.join(names)}"
        )
    others = [index for index in range(len(names)) if index != clock]
    if column is None:
        if len(others) != 1:
            raise OptionError(
                f"pool hrf({path.name}) needs column=NAME or NUMBER, since the table has {len(others)}: "
                f"{', '.join(names[index] for index in others)}"
            )
        column = names[others[0]]
    check_known("column", column, [names[index] for index in others], where=f"in {path.name}")
    times = np.arange(len(values)) * (step or 0.0) if clock is None else values[:, clock]
    return MeasuredResponse(times, values[:, names.index(column)])


@lru_cache(maxsize=8)
def _read(path: Path, column: str | None, step: float | None, _content: str) -> MeasuredResponse:
    """Read a table once, however many stimuli and layers ask for it."""
    return read_response(path, column, step)


def _table(path: Path) -> tuple[list[str], FloatArray]:
    """Read names of columns (numbers where there are none) and values of shape (n_times, n_columns)."""
    suffix = path.suffix.lower()
    check_option("the suffix of a table of pool hrf(...)", suffix, (".csv", ".tsv", ".npy"))
    what = "table of pool hrf(...)"
    if suffix == ".npy":
        array = open_npy(path, what)
        if array.dtype.kind not in "fiu" or not array.ndim:
            raise DataError(f"{path} must be a table of numbers; got {array.dtype} of shape {array.shape}; correct it")
        values = array.astype(np.float64).reshape(len(array), -1)
        return [str(number) for number in range(values.shape[1])], values
    rows = list(table_rows(path, what, titled=False))
    named = any(number_of(cell) is None for cell in rows[0][1])
    names = rows[0][1] if named else [str(number) for number in range(len(rows[0][1]))]
    numbers = [as_numbers(row, names, path, line) for line, row in rows[1 if named else 0 :]]
    return names, np.reshape(numbers, (len(numbers), len(names)))
