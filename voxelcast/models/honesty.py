"""What is known of a saved model's predictions: scores, intervals, and which stimuli are unlike those learnt from.

The arrays lie beside the models of a subject x ROI as further ones; one that was not known is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.errors import DataError
from voxelcast.encoders.saved import TRAINED
from voxelcast.scoring.novelty import Novelty, fit_novelty
from voxelcast.scoring.prediction_intervals import PredictionIntervals, half_widths, stored_intervals

SCORES: Final = ("pearson_r", "noise_ceiling_r", "q_value")
"""What is known of each voxel: its nested score, the highest there can be, and its q value."""
_EXTRA: Final = "extra."
_UNKNOWN: Final = -1.0  # of a score: files of models hold finite numbers only
_FEWEST: Final = 2


@dataclass(frozen=True, eq=False)
class Honesty:
    """What is known of the predictions of one subject x ROI.

    Parameters
    ----------
    extras : mapping of str to ndarray
        Arrays by their names.
    valid : ndarray of bool, shape (n_voxels,)
    """

    extras: Mapping[str, FloatArray]
    valid: BoolArray

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Honesty:
        """Take it from the arrays of a pair's file."""
        extras = {name.removeprefix(_EXTRA): array for name, array in arrays.items() if name.startswith(_EXTRA)}
        return cls(extras, np.asarray(arrays["valid"], dtype=np.bool_))

    @property
    def scores(self) -> dict[str, FloatArray]:
        """Arrays of shape (n_voxels,) by the names of `SCORES`; NaN where a voxel has none."""
        found = {name: self.extras[name].astype(np.float64) for name in SCORES if name in self.extras}
        return {name: np.where(values < _UNKNOWN, np.nan, values) for name, values in found.items()}

    def intervals(self, level: float = 0.95, *, roi: bool = False) -> PredictionIntervals:
        """Return the intervals of every voxel's response, or of the ROI's mean, (1,).

        Raises DataError where the run made no out-of-fold predictions; OptionError for a level that is not kept.
        """
        name = "roi_half_widths" if roi else "half_widths"
        if name not in self.extras:
            raise DataError(
                "the model has no prediction intervals: its run was not nested; run it with folds.nested=true"
            )
        n = int(self.extras["n_residuals"][0])
        stored = self.extras[name].astype(np.float64)
        return stored_intervals(np.where(stored < 0, np.nan, stored), n, level)

    def standardised(self, response: FloatArray) -> FloatArray:
        """Give the ROI's mean response in deviations of its predictions of the training stimuli; NaN if not known."""
        mean, deviation = self.extras.get("roi_location", np.full(2, np.nan)).tolist()
        return np.asarray((response - mean) / deviation if deviation else response * np.nan)

    @cached_property
    def novelty(self) -> Novelty | None:
        """How far training stimuli lie from each other; None where it is not known."""
        return Novelty.of_arrays(self.extras) if "novelty_mean" in self.extras else None


@dataclass(frozen=True, eq=False)
class Judgement:
    """How far the predictions of one subject x ROI for some stimuli are to be believed.

    ``distance`` and ``p`` of the stimuli, (n_stimuli,), as of `Novelty.judge`, and whether they are ``unlike`` those
    learnt from; NaN and False where ``novelty`` is None, as it is not known. ``intervals`` are None if not asked for.
    """

    scores: Mapping[str, FloatArray]
    novelty: Novelty | None
    intervals: PredictionIntervals | None
    distance: FloatArray
    p: FloatArray
    unlike: BoolArray

    @classmethod
    def of(cls, honesty: Honesty, n_stimuli: int, level: float | None) -> Judgement:
        """Prepare the judgement of so many stimuli; errors as of `Honesty.intervals`."""
        intervals = None if level is None else honesty.intervals(level)
        unknown = np.full(n_stimuli, np.nan)
        nothing = np.zeros(n_stimuli, dtype=np.bool_)
        return cls(honesty.scores, honesty.novelty, intervals, unknown, unknown.copy(), nothing)

    def judge(self, positions: list[int], components: FloatArray) -> None:
        """Judge the stimuli at some positions by their components."""
        assert self.novelty is not None
        self.distance[positions], self.p[positions] = self.novelty.judge(components)
        self.unlike[positions] = self.novelty.is_unlike(self.p[positions])

    @property
    def more_than_chance(self) -> bool:
        """Whether more stimuli are unlike those learnt from than in 95 of 100 sets of stimuli that are like them."""
        if self.novelty is None:
            return False
        from scipy.stats import binom  # takes a second to import, which every run would

        return bool(self.unlike.sum() > binom.ppf(0.95, len(self.unlike), self.novelty.alarm))

    @property
    def of_stimuli(self) -> dict[str, Any]:
        """Arrays of shape (n_stimuli,), by name; none where it is not known."""
        known = {"novelty": self.distance, "novelty_p": self.p, "unlike": self.unlike}
        return {} if self.novelty is None else known

    @property
    def of_voxels(self) -> dict[str, FloatArray]:
        """Arrays of shape (n_voxels,), by name."""
        return {**self.scores, **({} if self.intervals is None else {"half_width": self.intervals.half_width})}


def heaviest_part(parts: Sequence[tuple[str, float]]) -> int:
    """Return which of a pair's models weighs most, by their forms and the sums of their weights.

    Novelty is judged in its layer, so that one on compressed features goes before those that are trained.
    """
    return max(range(len(parts)), key=lambda k: (parts[k][0] != TRAINED, parts[k][1], -k))


def make_extras(
    voxels: Mapping[str, FloatArray],
    valid: BoolArray,
    nested: tuple[FloatArray, FloatArray] | None,
    novelty: Novelty | None,
) -> dict[str, FloatArray]:
    """Return the arrays to be kept with the models of a subject x ROI.

    Parameters
    ----------
    voxels : mapping of str to ndarray of shape (n_voxels,)
        What the run found out of each voxel.
    valid : ndarray of bool, shape (n_voxels,)
    nested : (ndarray, ndarray) or None
        Responses to the training stimuli and their out-of-fold predictions, both (n_train, n_valid).
    novelty : Novelty or None
    """
    extras: dict[str, FloatArray] = {
        name: np.where(np.isfinite(voxels[name]), voxels[name], 2 * _UNKNOWN) for name in SCORES if name in voxels
    }
    if nested is not None and len(nested[0]) >= _FEWEST:
        Y, P = nested
        own = half_widths(Y, P)
        every = np.full((len(own), len(valid)), np.nan)
        every[:, valid] = own
        of_roi = half_widths(Y.mean(axis=1, keepdims=True), P.mean(axis=1, keepdims=True))
        location = [P.mean(axis=1).mean(), P.mean(axis=1).std()]
        extras |= {"half_widths": every, "roi_half_widths": of_roi, "roi_location": np.array(location)}
        extras["n_residuals"] = np.array([len(Y)])
    if novelty is not None:
        extras |= novelty.arrays()
    return {name: np.nan_to_num(values, nan=2 * _UNKNOWN).astype(np.float32) for name, values in extras.items()}


def novelty_of(components: Callable[[tuple[int, ...]], FloatArray], fold_ids: IntArray) -> Novelty | None:
    """Learn how far training stimuli lie from each other; None where they are too few.

    ``components`` takes the folds left out and returns the components of all training stimuli, (n_train, p).
    """
    try:
        return fit_novelty(components(()), fold_ids, components)
    except DataError:
        return None
