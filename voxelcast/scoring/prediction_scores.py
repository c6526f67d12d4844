"""What is said of predictions: their score with its interval, the gain over a single model, and significance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray, put
from voxelcast.core.seeds import derive_seed
from voxelcast.scoring.correlation import cross_validated_r
from voxelcast.scoring.intervals import Judged, difference_interval, score_interval, score_without
from voxelcast.scoring.permutation import (
    Exchange,
    benjamini_hochberg,
    cross_validated_widening,
    permutation_p_values,
)
from voxelcast.scoring.settings import IntervalSettings, SignificanceSettings

CHOOSING = " As voxels choose for themselves, 3 to 8 % of noise voxels have p below .05."


@dataclass(frozen=True, eq=False)
class Predicted:
    """Predictions to be compared with measured responses.

    Parameters
    ----------
    prefix : str
        Goes before the names of what is computed: ``""`` for cross-validated predictions, or ``"held_out_"``.
    measured, predicted : ndarray of shape (n_stimuli, n_valid_voxels)
    judged : Judged
        Folds and groups.
    inner : ndarray of shape (n_stimuli, n_folds), optional
        Of the models that leave out one fold more; see `voxelcast.scoring.intervals.score_interval`.
    """

    prefix: str
    measured: FloatArray
    predicted: FloatArray
    judged: Judged
    inner: FloatArray | None = None

    @property
    def voxel_scores(self) -> FloatArray:
        """Score of each voxel, ndarray of shape (n_valid_voxels,)."""
        own_baseline = self.judged.own_baseline
        return cross_validated_r(self.measured, self.predicted, self.judged.fold_ids, own_baseline=own_baseline)


@dataclass(frozen=True)
class PredictionScorer:
    """Scores predictions; results are named as in the tables of an experiment.

    Parameters
    ----------
    circular : bool
        Whether groups are runs of a time series, within which permutations shift.
    voxels_choose : bool
        Whether each voxel chose among candidates; see `voxelcast.scoring.permutation.cross_validated_widening`.
    device : str
        Where voxels are tested.
    """

    interval: IntervalSettings
    significance: SignificanceSettings
    seed: int
    circular: bool = False
    voxels_choose: bool = False
    device: str = "cpu"

    def judged(self, fold_ids: IntArray, groups: Sequence[str] | None) -> Judged:
        """Say how stimuli were judged: folds of runs have a baseline of their own."""
        return Judged(fold_ids, groups, own_baseline=self.circular)

    def score_row(self, given: Predicted) -> dict[str, Any]:
        """Mean score over voxels with its interval, or why there is none; None where no voxel has a score."""
        prefix, scores = given.prefix, given.voxel_scores
        there = np.isfinite(scores)
        if not there.any():
            return {f"{prefix}score": None, f"{prefix}score_low": None, f"{prefix}score_high": None}
        found = score_interval(given.measured, given.predicted, given.judged, self.interval.level, given.inner)
        return {
            f"{prefix}score": float(scores[there].mean()),
            f"{prefix}score_low": None if found.reason else found.low,
            f"{prefix}score_high": None if found.reason else found.high,
            f"{prefix}n_voxels_without_score": int((~there).sum()),
            f"{prefix}no_interval": found.reason,
        }

    def jackknife(self, given: Predicted, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the arrays by which experiments are compared: ``without``, ``units``, ``n_folds``; may be empty.

        See `voxelcast.scoring.intervals.Jackknife`.
        """
        found = score_without(given.measured, given.predicted, given.judged, ids)
        return {} if found is None else vars(found) | {"n_folds": np.array(found.n_folds)}

    def gain_row(self, given: Predicted, single: FloatArray | None) -> dict[str, Any]:
        """Compare the nested score with that of the best single candidate; empty where the prediction is just that.

        Returns
        -------
        row : dict
            ``single_score``, and ``gain`` with ``gain_low`` and ``gain_high``, the interval of the difference.
        """
        if single is None or single is given.predicted:
            return {}
        scores = [given.voxel_scores, replace(given, predicted=single).voxel_scores]
        both = np.isfinite(scores[0]) & np.isfinite(scores[1])
        if not both.any():
            return {}
        found = difference_interval(given.measured, given.predicted, single, given.judged, self.interval.level)
        means = [float(score[both].mean()) for score in scores]
        return {"single_score": means[1], "gain": means[0] - means[1]} | (
            {} if found.reason else {"gain_low": found.low, "gain_high": found.high}
        )

    def test_voxels(self, given: Predicted, valid: BoolArray) -> tuple[dict[str, FloatArray], dict[str, Any]]:
        """Test which voxels are predicted better than chance.

        Returns
        -------
        voxels : dict of str to ndarray of shape (n_voxels,)
            ``p_value`` and ``q_value``, NaN for voxels that are not valid; empty without a test.
        row : dict
            ``n_significant_voxels``; ``exchanged``, what permutations exchanged and intervals resampled; and
            ``untestable``, why no voxel can be significant, where that is so.
        """
        prefix, judged, asked = given.prefix, given.judged, self.significance
        exchange = Exchange(judged.fold_ids, judged.groups, self.circular)
        units = exchange.units + (CHOOSING if self.voxels_choose and not prefix and asked.permutations else "")
        row: dict[str, Any] = {f"{prefix}exchanged": units}
        if warning := exchange.warning(asked.permutations, asked.alpha):
            row[f"{prefix}untestable"] = warning
        if not asked.permutations or exchange.n_arrangements == 1:
            return {}, row
        p = np.full(len(valid), np.nan)
        p[valid] = permutation_p_values(
            put(given.measured, self.device),
            put(given.predicted, self.device),
            exchange,
            asked.permutations,
            derive_seed(self.seed, "significance", prefix),
            widening=1.0 if prefix else cross_validated_widening(exchange, voxels_choose=self.voxels_choose),
        )
        q = benjamini_hochberg(p)
        row[f"{prefix}n_significant_voxels"] = int((q <= asked.alpha).sum())
        return {f"{prefix}p_value": p, f"{prefix}q_value": q}, row


def average_rows(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Average scores over the partitions into folds; counts of voxels without a score are the largest."""
    if len(rows) == 1:
        return rows[0]
    averaged: dict[str, Any] = {"score_of_repeats": [row["score"] for row in rows]}
    for name in rows[0]:
        if name == "no_interval":
            averaged[name] = rows[0][name]  # it follows from the groups, of which every partition has the same
            continue
        values = [row[name] for row in rows if row.get(name) is not None]
        averaged[name] = max(values, default=0) if name.startswith("n_") else float(np.mean(values)) if values else None
    return averaged
