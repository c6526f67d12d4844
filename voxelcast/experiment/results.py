"""The files an experiment leaves, written from its finished steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from voxelcast.challenges import challenge_of
from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import DataError, VoxelcastError
from voxelcast.experiment.finished import Finished
from voxelcast.experiment.models import remove_models
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.steps.train import TrainJob
from voxelcast.experiment.stimulus_scores import pattern_r, stimulus_rows, write_thumbnails
from voxelcast.report.brain_maps import FOLDER, remove_maps
from voxelcast.results import schema, write
from voxelcast.results.read import read_arrays
from voxelcast.scoring.ceiling import mean_noise_ceiling_r, normalised_mean
from voxelcast.store.atomic import save_array, save_arrays, write_json
from voxelcast.store.provenance import collect_provenance
from voxelcast.store.result import StepResult

QUANTILES: Final = (1.0, 0.75, 0.5)
"""The voxels of the examples: that with the best score, the one at the upper quartile, and the median one."""


def write_results(finished: Finished, output: Path) -> list[dict[str, Any]]:
    """Write scores, search, predictions, submission and provenance; return the rows of ``scores.csv``."""
    pools = finished.plan.config.pools
    rows = [_score_row(finished, pair) for pair in finished.plan.pairs]
    write.remove_pairs(output, finished.missing)
    write.write_table(output, schema.SCORES, rows, pools=pools, missing=bool(finished.missing))
    fits = {pair: finished.read(step) for pair, step in finished.fits.items()}
    n_folds = int(finished.layers.fold_ids.max()) + 1
    for table, file in ((schema.SEARCH, "search.csv"), (schema.WEIGHTS, "weights.csv")):
        parts = [fit.text(file) for fit in fits.values()]
        write.write_joined(output, table, parts, pools=pools, n_folds=n_folds)
    jackknife: dict[str, FloatArray] = {}
    for pair, fit in fits.items():
        jackknife |= {f"{schema.pair_name(*pair)}/{name}": array for name, array in fit.arrays("jackknife").items()}
    save_arrays(output / write.JACKKNIFE_FILE, jackknife)
    examples: dict[str, Any] = {}
    patterns: dict[schema.Pair, tuple[Sequence[str], FloatArray]] = {}
    for pair, fit in fits.items():
        save_array(write.pair_file(output, write.WEIGHT_FILE, pair), fit.array("layer_weights"))
        save_arrays(write.pair_file(output, write.VOXEL_FILE, pair), finished.voxels(pair))
        _write_predictions(output, pair, finished)
        judged = _judged(finished, pair)
        if judged is not None:
            scores, ids, measured, predicted = judged
            of_pair = example_voxels(scores, measured, predicted)
            examples |= {f"{schema.pair_name(*pair)}/{name}": array for name, array in of_pair.items()}
            patterns[pair] = ids, pattern_r(measured, predicted)
    save_arrays(output / write.EXAMPLE_FILE, examples)
    shown = [] if finished.readable.series else stimulus_rows(patterns)
    write.write_table(output, schema.STIMULUS_SCORES, shown)
    write_thumbnails(finished, output, shown)
    _write_partition(finished, output)
    depths = {network.shown: network.depths for network in finished.plan.networks}
    layers = (
        finished.plan.store.read(layer.step).json("facts")
        | {"network": layer.network, "layer": layer.layer, "pool": layer.pool}
        | {"depth": depths.get(layer.network, {}).get(layer.layer)}
        for layer in finished.layers.layers
    )
    write.write_table(output, schema.LAYERS, layers, pools=pools)
    _write_exclusions(finished, output)
    _write_trainings(finished, output)
    if finished.controls:
        write.write_table(output, schema.CONTROL, finished.control_rows())
    notes = finished.notes()
    if no_submission := _write_submission(finished, output):
        notes.append(no_submission)
    write_json(output / "notes.json", notes)
    _write_provenance(finished, output)
    return rows


def _score_row(finished: Finished, pair: schema.Pair) -> dict[str, Any]:
    named = {"subject": pair[0], "roi": pair[1]}
    if pair in finished.missing:
        return named | {"missing": finished.missing[pair].reason}
    result, voxels = finished.scores(pair), finished.voxels(pair)
    nested = _normalised(voxels, "pearson_r", "")
    held_out = _normalised(voxels, "held_out_r", "held_out_")
    row: dict[str, Any] = {**dict.fromkeys(schema.SCORES.names()), **result, **named}
    row["held_out_low"], row["held_out_high"] = result.get("held_out_score_low"), result.get("held_out_score_high")
    row["noise_ceiling_r"], row["noise_normalised_r"] = nested
    row["held_out_noise_ceiling_r"] = held_out[0]
    row["score_from"] = "nested_cv" if "score" in result else "none"
    if "score" not in result and "held_out_score" in result:
        row["score_from"] = "held_out"
        told = "score", "score_low", "score_high", "no_interval", "n_voxels_without_score", "n_significant_voxels"
        for name in (*told, "exchanged"):
            row[name] = result.get(f"held_out_{name}")
        row["noise_ceiling_r"], row["noise_normalised_r"] = held_out
    return row


def _normalised(voxels: Mapping[str, FloatArray], score: str, prefix: str) -> tuple[float | None, float | None]:
    """Mean ceiling over voxels, and mean score over it (of the voxels that have both)."""
    if f"{prefix}reliability" not in voxels:
        return None, None
    reliability = voxels[f"{prefix}reliability"], voxels[f"{prefix}reliability_se"]
    if score not in voxels:
        return _none_if_nan(mean_noise_ceiling_r(*reliability)), None
    ceiling, normalised = normalised_mean(voxels[score], *reliability)
    return _none_if_nan(ceiling), _none_if_nan(normalised)


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else value


def _write_predictions(output: Path, pair: schema.Pair, finished: Finished) -> None:
    """Held-out stimuli's predictions; where there are none, the nested out-of-fold predictions of the training ones."""
    readable, fit = finished.readable, finished.read(finished.fits[pair])
    if not readable.test_ids and "out_of_fold" in fit:
        write.write_predictions(output, pair, fit.array("out_of_fold"), readable.train_ids, "train (out of fold)")
    else:
        write.write_predictions(output, pair, finished.predictions(pair), readable.test_ids, "test")


def _judged(finished: Finished, pair: schema.Pair) -> tuple[FloatArray, Sequence[str], FloatArray, FloatArray] | None:
    """Return a pair's scores, stimuli, measured and predicted responses: out of fold, or held-out without these."""
    fit, voxels, readable = finished.read(finished.fits[pair]), finished.voxels(pair), finished.readable
    responses = finished.read(finished.responses[pair])
    if "pearson_r" in voxels:
        measured = responses.mapped("train")[readable.train_rows]
        return voxels["pearson_r"], readable.train_ids, measured, fit.mapped("out_of_fold")
    if "held_out_r" in voxels:
        measured = responses.mapped("test")[readable.test_rows]
        return voxels["held_out_r"], readable.test_ids, measured, finished.predictions(pair)
    return None


def example_voxels(scores: FloatArray, measured: FloatArray, predicted: FloatArray) -> dict[str, Any]:
    """Return ``voxel``, ``quantile``, ``score`` (n_examples,), ``measured`` and ``predicted`` (n_stimuli, n_examples).

    ``scores`` are (n_voxels,), the responses (n_stimuli, n_voxels). Nothing is returned where no voxel has a score.
    """
    chosen, quantiles = voxels_at_quantiles(scores)
    if not chosen.size:
        return {}
    arrays = {"voxel": chosen, "quantile": quantiles, "score": scores[chosen]}
    return arrays | {"measured": measured[:, chosen], "predicted": predicted[:, chosen]}


def voxels_at_quantiles(scores: FloatArray) -> tuple[IntArray, FloatArray]:
    """Pick the voxels whose scores, (n_voxels,), lie nearest to `QUANTILES` of the finite ones; each voxel once.

    The voxels and their quantiles, (n_examples,), go from the best on and are empty where no score is finite. A voxel
    that is nearest to two quantiles has the higher one.
    """
    order = np.argsort(scores, kind="stable")[: int(np.isfinite(scores).sum())]  # NaN sorts behind
    quantile_of_rank: dict[int, float] = {}
    for quantile in QUANTILES if order.size else ():
        quantile_of_rank.setdefault(round(quantile * (len(order) - 1)), quantile)
    return order[list(quantile_of_rank)].astype(int), np.array(list(quantile_of_rank.values()))


def _write_partition(finished: Finished, output: Path) -> None:
    """Write unique and shared variance, of ROIs and voxels, where it was asked for."""
    if not finished.plan.layer_groups:
        return
    write.remove_pairs(output, finished.fits.keys() - finished.divided.keys(), [write.PARTITION_FILE])
    rows, groups = [], []
    for pair, step in finished.divided.items():
        divided = finished.read(step)
        save_arrays(write.pair_file(output, write.PARTITION_FILE, pair), divided.arrays("voxels"))
        rows += [{"subject": pair[0], "roi": pair[1], **row} for row in divided.json("parts")]
        groups += [{"subject": pair[0], "roi": pair[1], **row} for row in divided.json("groups")]
    write.write_table(output, schema.VARIANCE_PARTITIONING, rows)
    write.write_table(output, schema.GROUPS, groups)


def _write_trainings(finished: Finished, output: Path) -> None:
    """Write learning curves, where voxels read, and what rules claim, where there are any."""
    rules = [
        {"subject": pair[0], "roi": pair[1], **rule}
        for pair, step in finished.fits.items()
        for rule in finished.read(step).json("scores")["rules"]
    ]
    if rules:
        write.write_table(output, schema.RULES, rules)
    curves, places = [], dict[schema.Pair, dict[str, FloatArray]]()
    for step in finished.steps:
        job = step.job
        if not isinstance(job, TrainJob) or job.order is not None or len(job.excluded) > 1:
            continue
        result = finished.read(step)
        if not job.excluded:
            for k, pair in enumerate(job.pairs):
                places.setdefault(pair, {}).update(_places(result, job, k))
        named = {"encoder": job.encoder, "network": job.source.shown, "trained_on": job.trained_on}
        named["left_out"] = str(job.excluded[0] + 1) if job.excluded else "none"
        both = zip(result.array("losses"), result.array("scores"), strict=True)
        curves += [
            named | {"variant": v, "epoch": e, "loss": float(loss), "score": _none_if_nan(score)}
            for v, pair_of in enumerate(both, start=1)
            for e, (loss, score) in enumerate(zip(*pair_of, strict=True), start=1)
            if np.isfinite(loss)
        ]
    if curves:
        write.write_table(output, schema.TRAINING, curves)
    for pair, maps in places.items():
        if pair not in finished.fits:
            continue
        valid = finished.read(finished.responses[pair]).array("valid")
        full = {name: np.full((len(valid), *values.shape[1:]), np.nan, np.float32) for name, values in maps.items()}
        for name, values in maps.items():
            full[name][valid] = values
        save_arrays(write.pair_file(output, write.PLACES_FILE, pair), full)


def _places(result: StepResult, job: TrainJob, place: int) -> dict[str, FloatArray]:
    """Return where the voxels of a pair read in each layer, mean over variants and seeds."""
    there = [v for v in range(len(result.array("losses"))) if f"pictures/{place}_{v}_0" in result]
    return {
        f"{job.encoder} {job.source.shown.replace('/', '-')} {layer}": np.mean(
            [result.array(f"pictures/{place}_{v}_{k}") for v in there], axis=0
        )
        for k, layer in enumerate(job.source.layers if there else ())
    }


def _write_exclusions(finished: Finished, output: Path) -> None:
    broken = finished.readable.broken
    rows = [{"kind": "stimulus", "name": name, "reason": reason} for name, reason in broken.items()]
    for (subject, roi), step in finished.responses.items():
        rows += [
            {"kind": "voxel", "subject": subject, "roi": roi, "name": voxel, "reason": reason}
            for voxel, reason in finished.read(step).json("facts")["invalid"].items()
        ]
    write.write_table(output, schema.EXCLUSIONS, rows)


def _write_submission(finished: Finished, output: Path) -> str | None:
    """Write the challenge files where the dataset is a challenge; return why not, where that is so."""
    dataset = finished.plan.dataset
    if dataset.submission_track is None:
        return None
    _remove_submission(finished.plan, output)
    if finished.missing:
        (pair, one), *more = finished.missing.items()
        others = f", and {len(more)} more" if more else ""
        return f"No submission was made: it needs every subject x ROI; {' '.join(pair)} failed ({one.reason}){others}."
    broken = [s.stimulus_id for s in dataset.test_stimuli if s.stimulus_id in finished.readable.broken]
    if broken:
        return f"No submission was made: {len(broken)} held-out stimuli could not be read ({broken[0]}, ...)."
    predictions: dict[schema.Pair, FloatArray] = {pair: finished.predictions(pair) for pair in finished.fits}
    try:
        challenge_of([dataset]).write(predictions, [dataset], output / "submission")
    except VoxelcastError as error:
        return f"No submission was made: {error}"
    return None


def _write_provenance(finished: Finished, output: Path) -> None:
    plan = finished.plan
    steps = {}
    for step in finished.steps:
        facts = plan.store.facts(step.step_id)
        steps[step.step_id.folder] = {name: facts.get(name) for name in ("key", "seconds", "peak_mb", "host")}
    provenance = collect_provenance() | {
        "seed": plan.config.seed,
        "device": plan.config.compute.device,
        "networks": {
            network.shown: {"weights": network.card.weights, "weights_hash": network.card.weights_hash}
            for network in (*plan.networks, *plan.own.networks.values())
        },
        "dataset": {name: getattr(plan.dataset.facts, name) for name in ("title", "licence", "citation")},
        "steps": steps,
    }
    write_json(output / "provenance.json", provenance)


def remove_all_results(plan: Plan, output: Path) -> None:
    """Remove what an earlier run, on other data, left, where every pair failed now; settings and steps stay."""
    remove_maps(output, plan.dataset)
    _remove_submission(plan, output)
    write.remove_pairs(output, plan.pairs)
    write.remove_tables(output)
    remove_models(output)


def _remove_submission(plan: Plan, output: Path) -> None:
    """Remove an earlier run's submission, where the dataset is a challenge's."""
    if plan.dataset.submission_track is not None:
        challenge_of([plan.dataset]).remove(output / "submission", plan.dataset.submission_track)


def remove_old_maps(finished: Finished, output: Path) -> bool:
    """Remove brain maps of other values than the new ones, before these are written; say whether any was removed."""
    if not (output / FOLDER).is_dir():
        return False
    for pair in finished.plan.pairs:
        new = finished.voxels(pair) if pair in finished.fits else {}
        parts = finished.read(finished.divided[pair]).arrays("voxels") if pair in finished.divided else {}
        there = {write.VOXEL_FILE: new, write.PARTITION_FILE: parts}
        if not all(_same(arrays, write.pair_file(output, name, pair)) for name, arrays in there.items()):
            return remove_maps(output, finished.plan.dataset)
    return False


def _same(arrays: Mapping[str, FloatArray], path: Path) -> bool:
    """Whether a file holds just these arrays; one that is damaged does not."""
    try:
        there = read_arrays(path)
    except DataError:
        return False
    return arrays.keys() == there.keys() and all(arrays[name].tobytes() == there[name].tobytes() for name in arrays)
