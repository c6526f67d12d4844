"""What a fit leaves of its selection and ensemble: the models, their weights, and what they gained over one layer."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.seeds import derive_seed
from voxelcast.scoring.bootstrap import bootstrap_difference
from voxelcast.scoring.correlation import fold_pearson_r
from voxelcast.scoring.settings import IntervalSettings
from voxelcast.search.base import Candidate, PairResult, Part, Share

WEIGHT_COLUMNS = (
    *("subject", "roi", "fold", "network", "weights", "layer", "encoder", "hyperparameters"),
    *("selection_score", "weight", "n_voxels"),
)


def with_pool(columns: Sequence[str], pools: Sequence[str]) -> tuple[str, ...]:
    """Return a table's columns with one for the pool after the layer's, where an experiment has several pools."""
    place = columns.index("layer") + 1
    return (*columns[:place], *(["pool"] if len(pools) > 1 else []), *columns[place:])


def model_arrays(parts: Sequence[Part], valid: BoolArray) -> dict[str, np.ndarray]:
    """Gather the arrays of the final models.

    One model of weight 1 keeps the names of its arrays; several are numbered (``0_coefficients``, ``0_weights``, ...).
    """
    if len(parts) == 1 and (parts[0].weights == 1).all():
        return {**parts[0].model.arrays(), "valid": valid}
    arrays: dict[str, np.ndarray] = {"valid": valid}
    for k, part in enumerate(parts):
        arrays |= {f"{k}_{name}": array for name, array in part.model.arrays().items()}
        arrays[f"{k}_weights"] = part.weights
        arrays[f"{k}_model"] = np.array([part.network, part.layer, part.encoder, *([part.pool] if part.pool else [])])
    return arrays


def write_weights(
    folder: Path, pair: tuple[str, str], result: PairResult, shown: Callable[[Candidate], Mapping[str, Any]]
) -> None:
    """Write ``weights.csv`` without its header: the final models first, then each outer fold's.

    Its columns are `WEIGHT_COLUMNS`; see :func:`with_pool`.

    Parameters
    ----------
    folder : Path
    pair : tuple of str
        Subject and ROI.
    result : PairResult
    shown : callable
        Gives the columns from ``network`` to ``selection_score`` of a candidate.
    """
    searches: list[tuple[str, Sequence[Share]]] = [("all", result.shares)]
    searches += [(str(fold + 1), shares) for fold, shares in enumerate(result.nested_shares)]
    with (folder / "weights.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for fold, shares in searches:
            for share in shares:
                known = shown(share.candidate).values()
                writer.writerow([*pair, fold, *known, repr(share.weight), share.n_voxels])


def gain_row(
    result: PairResult,
    measured: FloatArray,
    fold_ids: IntArray,
    groups: Sequence[str] | None,
    interval: IntervalSettings,
    seed: int,
) -> dict[str, float]:
    """Compare the nested score with that of the best single candidate; empty where the prediction is just that.

    Returns
    -------
    row : dict
        ``single_score``, and ``gain`` with ``gain_low`` and ``gain_high``, the interval of the difference over stimuli.
    """
    predicted, single = result.out_of_fold, result.single_out_of_fold
    if predicted is None or single is None or single is predicted:
        return {}
    scores = [fold_pearson_r(measured, P, fold_ids) for P in (predicted, single)]
    both = np.isfinite(scores[0]) & np.isfinite(scores[1])
    if not both.any():
        return {}
    low, high = bootstrap_difference(
        measured,
        predicted,
        single,
        fold_ids,
        groups=groups,
        interval=interval,
        seed=derive_seed(seed, "bootstrap", ""),
    )
    means = [float(score[both].mean()) for score in scores]
    return {"single_score": means[1], "gain": means[0] - means[1], "gain_low": low, "gain_high": high}
