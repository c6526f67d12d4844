"""The step that finds, judges and refits the best encoding model of one subject x ROI."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.budget import AutoMLSettings
from voxelcast.encoders.params import Params
from voxelcast.encoders.registry import get_encoder
from voxelcast.experiment import mixture_files
from voxelcast.experiment.significance import voxel_significance
from voxelcast.experiment.steps.compress import StoredSpace
from voxelcast.scoring.bootstrap import bootstrap_interval
from voxelcast.scoring.correlation import pearson_r
from voxelcast.scoring.settings import IntervalSettings, SignificanceSettings
from voxelcast.search.base import Candidate, PairContext, Share
from voxelcast.search.evaluation_log import open_log
from voxelcast.search.joined import JOINED
from voxelcast.search.pair import search_pair
from voxelcast.search.repeated import combine_repeats
from voxelcast.search.settings import PairSettings, SharingSettings
from voxelcast.search.sharing import Sharing
from voxelcast.store.atomic import save_arrays

VERSION = 5

Located = tuple[Path, str, str, str, str]
"""A feature space: its folder, network, weights, layer, and its pool where there are several (else empty)."""


def shown_params(params: Params) -> str:
    """Write hyper-parameters as text: ``n_components=4``; several joined by ``"; "``."""
    return "; ".join(f"{name}={value!r}" for name, value in params.items())


def fit_pair(
    folder: Path,
    *,
    responses: Path,
    train_rows: IntArray,
    test_rows: IntArray,
    spaces: Sequence[Located],
    fitted_in_folds: bool,
    fold_ids: IntArray,
    repeats: Sequence[tuple[IntArray, Sequence[Located]]],
    others: Sequence[Path],
    share: SharingSettings,
    groups: Sequence[str] | None,
    test_groups: Sequence[str] | None,
    encoders: Sequence[str],
    automl: AutoMLSettings | None,
    settings: PairSettings,
    truncate: bool,
    delayed_rows: IntArray | None,
    scratch: Path,
    interval: IntervalSettings,
    significance: SignificanceSettings,
    subject: str,
    roi: str,
) -> None:
    """Search, judge, refit and predict.

    ``train_rows`` and ``test_rows`` pick the readable stimuli from the prepared responses; ``spaces`` says where each
    feature space is (with ``ensemble.joined`` that of all layers last). ``repeats`` holds the folds and spaces of
    further partitions, and ``others`` the prepared responses of the subjects that targets are shared with.

    Writes ``result.json``, ``search.csv`` (no header),
    ``weights.csv`` (no header), ``layer_weights.npy`` (n_layers, n_voxels), ``predictions.npy``, ``out_of_fold.npy``,
    ``voxels.npz`` and ``model.npz``. A search by proposals keeps its scores in ``scratch`` until it is done.
    """
    valid = np.load(responses / "valid.npy")
    train, fallback = _valid_responses(responses, train_rows)
    weights = {network: shown for _, network, shown, *_ in spaces}
    n_delays = 1 if delayed_rows is None else delayed_rows.shape[1]
    pools = any(pool for *_, pool in spaces)
    chosen_row = partial(_chosen_row, weights=weights, pools=pools, n_delays=n_delays)
    circular = delayed_rows is not None
    seed = settings.seed
    sharing = None
    if share.components:
        sharing = Sharing(share.components, [_valid_responses(folder, train_rows)[0] for folder in others])
    partitions = [(fold_ids, spaces), *repeats]
    results = []
    for number, (folds, stored) in enumerate(partitions):
        own = [f"repeat {number}"] if number else []
        with open_log(scratch.joinpath(*own)) if settings.search.method != "exact" else nullcontext() as log:
            found = search_pair(
                train,
                [
                    StoredSpace(
                        path,
                        network,
                        layer,
                        fitted_in_folds=fitted_in_folds or network == JOINED,
                        pool=pool,
                        delayed_rows=delayed_rows,
                    )
                    for path, network, _, layer, pool in stored
                ],
                [get_encoder(name, derive_seed(seed, subject, roi), automl or AutoMLSettings()) for name in encoders],
                folds,
                settings,
                context=PairContext((subject, roi, *own), truncate, n_delays, sharing),
                log=log,
            )
        results.append(found)
    result = results[0] if len(results) == 1 else combine_repeats(results)
    _write_search(folder, subject, roi, result.candidates, chosen_row)
    np.save(folder / "predictions.npy", _spread(result.predictions, valid, fallback))
    save_arrays(folder / "model.npz", mixture_files.model_arrays(result.parts, valid))
    mixture_files.write_weights(folder, (subject, roi), result, chosen_row)
    np.save(folder / "layer_weights.npy", _spread_scores(result.layer_weights, valid))
    with np.load(responses / "ceilings.npz") as ceilings:
        voxels: dict[str, FloatArray] = dict(ceilings)
    row = chosen_row(_heaviest(result.shares, result.chosen)) | {"selection_score": result.selection_score}
    row |= {"ensemble": settings.ensemble.method, "selection": settings.selection.per, "n_models": len(result.shares)}
    row |= {"n_voxels": int(valid.sum()), "n_excluded_voxels": int((~valid).sum())}
    heaviest = map(_heaviest, result.nested_shares, result.nested_choices)
    row |= {"nested_choices": [chosen_row(candidate) for candidate in heaviest]}
    if result.out_of_fold is not None and result.voxel_scores is not None:
        np.save(folder / "out_of_fold.npy", _spread(result.out_of_fold, valid, fallback))
        voxels["pearson_r"] = _spread_scores(result.voxel_scores, valid)
        judged = [
            _judged("", one.voxel_scores, train, one.out_of_fold, folds, groups, interval, seed)
            | mixture_files.gain_row(one, train, folds, groups, interval, seed)
            for one, (folds, _) in zip(results, partitions, strict=True)
            if one.voxel_scores is not None and one.out_of_fold is not None
        ]
        row |= judged[0] if len(judged) == 1 else _averaged(judged)
        tested, counted = voxel_significance(
            "", train, result.out_of_fold, fold_ids, groups, valid, significance, seed, circular=circular
        )
        voxels, row = voxels | tested, row | counted
    if (responses / "test.npy").is_file():
        measured = np.load(responses / "test.npy")[test_rows][:, valid]
        voxels["held_out_r"] = _spread_scores(pearson_r(measured, result.predictions), valid)
        with np.load(responses / "test_ceilings.npz") as ceilings:
            voxels |= {f"held_out_{name}": ceiling for name, ceiling in ceilings.items()}
        one_fold = np.zeros(len(measured), dtype=int)
        row |= _judged(
            "held_out_",
            voxels["held_out_r"][valid],
            measured,
            result.predictions,
            one_fold,
            test_groups,
            interval,
            seed,
        )
        tested, counted = voxel_significance(
            "held_out_",
            measured,
            result.predictions,
            one_fold,
            test_groups,
            valid,
            significance,
            seed,
            circular=circular,
        )
        voxels, row = voxels | tested, row | counted
    save_arrays(folder / "voxels.npz", voxels)
    (folder / "result.json").write_text(json.dumps(row))
    shutil.rmtree(scratch, ignore_errors=True)


def _chosen_row(chosen: Candidate, *, weights: Mapping[str, str], pools: bool, n_delays: int) -> dict[str, Any]:
    """Name a candidate by the columns of the tables; only with several pools there is one for the pool."""
    kept = {} if chosen.n_features is None else {"compress.components": chosen.n_features // n_delays}
    return {
        "network": chosen.network,
        "weights": weights[chosen.network],
        "layer": chosen.layer,
        **({"pool": chosen.pool} if pools else {}),
        "encoder": chosen.encoder,
        "hyperparameters": shown_params({**kept, **chosen.params}),
        "selection_score": chosen.score,
    }


def _heaviest(shares: Sequence[Share], single: Candidate) -> Candidate:
    """Return the layer that counts most; where all weight is with the model on all layers, the best single one."""
    return next((share.candidate for share in shares if share.candidate.network != JOINED), single)


def _judged(
    prefix: str,
    voxel_scores: FloatArray,
    measured: FloatArray,
    predicted: FloatArray,
    fold_ids: IntArray,
    groups: Sequence[str] | None,
    interval: IntervalSettings,
    seed: int,
) -> dict[str, Any]:
    """Mean score over voxels with its bootstrap interval over stimuli; None where no voxel has a score."""
    there = np.isfinite(voxel_scores)
    if not there.any():
        return {f"{prefix}score": None, f"{prefix}score_low": None, f"{prefix}score_high": None}
    low, high = bootstrap_interval(
        measured,
        predicted,
        fold_ids,
        groups=groups,
        interval=interval,
        seed=derive_seed(seed, "bootstrap", prefix),
    )
    return {
        f"{prefix}score": float(voxel_scores[there].mean()),
        f"{prefix}score_low": low if np.isfinite(low) else None,
        f"{prefix}score_high": high if np.isfinite(high) else None,
        f"{prefix}n_voxels_without_score": int((~there).sum()),
    }


def _averaged(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Average what was judged over the partitions into folds; counts of voxels without a score are the largest."""
    averaged: dict[str, Any] = {"score_of_repeats": [row["score"] for row in rows]}
    for name in rows[0]:
        values = [row[name] for row in rows if row.get(name) is not None]
        mean = max(values, default=0) if name.startswith("n_") else float(np.mean(values)) if values else None
        averaged[name] = mean
    return averaged


def _valid_responses(responses: Path, train_rows: IntArray) -> tuple[FloatArray, FloatArray]:
    """Read a subject's responses to the readable training stimuli, in the voxels that are analysed.

    Returns
    -------
    train : ndarray of shape (n_train, n_valid_voxels)
    fallback : ndarray of shape (n_voxels,)
        Mean response of each voxel, which stands for the prediction of one that is not analysed; 0 if all are.
    """
    valid = np.load(responses / "valid.npy")
    # Mapped: only the rows wanted come into memory.
    train: FloatArray = np.load(responses / "train.npy", mmap_mode="r")[train_rows]
    if valid.all():
        return train, np.zeros(len(valid))
    fallback = np.nanmean(np.where(np.isfinite(train), train, np.nan), axis=0)
    return np.ascontiguousarray(train[:, valid]), fallback


def _write_search(
    folder: Path,
    subject: str,
    roi: str,
    candidates: Sequence[Candidate],
    chosen_row: Callable[[Candidate], Mapping[str, Any]],
) -> None:
    with (folder / "search.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for candidate in candidates:
            shown = chosen_row(candidate)
            writer.writerow([subject, roi, *shown.values(), *map(repr, candidate.fold_scores.tolist())])


def _spread(values: FloatArray, valid: np.ndarray, fallback: FloatArray) -> FloatArray:
    """Put the predictions of valid voxels in place; an excluded voxel is predicted by its mean (0 if it has none)."""
    if valid.all():
        return values
    full = np.tile(np.nan_to_num(fallback), (len(values), 1))
    full[:, valid] = values
    return full


def _spread_scores(scores: FloatArray, valid: np.ndarray) -> FloatArray:
    """Put values of the valid voxels, shape (..., n_valid), in place; NaN for the others."""
    full = np.full((*scores.shape[:-1], len(valid)), np.nan)
    full[..., valid] = scores
    return full


def read_result(folder: Path) -> dict[str, Any]:
    """Read what a finished fit step found."""
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result
