"""The files an experiment leaves, written from its finished steps."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from voxelcast.challenges import challenge_of
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import VoxelcastError
from voxelcast.experiment.example_voxels import write_example_voxels
from voxelcast.experiment.finished import Finished
from voxelcast.experiment.missing import Pair
from voxelcast.experiment.mixture_files import WEIGHT_COLUMNS, with_pool
from voxelcast.experiment.notes import experiment_notes
from voxelcast.experiment.partition_plan import partition_rows
from voxelcast.experiment.steps.fit import read_result
from voxelcast.experiment.steps.partition import PARTITION_COLUMNS
from voxelcast.experiment.superseded import PARTITION_FILE, remove_results, remove_submission
from voxelcast.report.page import write_report
from voxelcast.store.atomic import save_array, write_bytes, write_json, write_text
from voxelcast.store.provenance import collect_provenance

SCORE_COLUMNS = (
    "subject",
    "roi",
    "network",
    "weights",
    "layer",
    "encoder",
    "hyperparameters",
    "selection",
    "ensemble",
    "n_models",
    "n_voxels",
    "n_excluded_voxels",
    "selection_score",
    "score",
    "score_low",
    "score_high",
    "score_from",
    "n_voxels_without_score",
    "single_score",
    "gain",
    "gain_low",
    "gain_high",
    "n_significant_voxels",
    "noise_ceiling_r",
    "noise_normalised_r",
    "held_out_score",
    "held_out_low",
    "held_out_high",
    "held_out_n_significant_voxels",
    "held_out_noise_ceiling_r",
)


def write_results(finished: Finished, output: Path) -> list[dict[str, Any]]:
    """Write scores, search, predictions, submission, provenance and report; return the rows of ``scores.csv``."""
    rows = [_score_row(finished, pair) for pair in finished.plan.pairs]
    remove_results(output, finished.missing)
    columns = (*with_pool(SCORE_COLUMNS, finished.plan.config.pools), *(["missing"] if finished.missing else []))
    write_text(output / "scores.csv", _csv(columns, ([row.get(c) for c in columns] for row in rows)))
    _write_search(finished, output)
    _write_weights(finished, output)
    _write_predictions(finished, output)
    for (subject, roi), fit in finished.fits.items():
        folders = finished.folder(finished.responses[subject, roi]), finished.folder(fit)
        write_example_voxels(output / "examples" / f"{subject}_{roi}.npz", *folders, finished.readable)
    _write_partition(finished, output)
    _write_layers(finished, output)
    _write_exclusions(finished, output)
    notes = experiment_notes(finished)
    submission = _write_submission(finished, output)
    if submission:
        notes.append(submission)
    write_json(output / "notes.json", notes)
    _write_provenance(finished, output)
    write_report(output)
    return rows


def _csv(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if value is None else value for value in row] for row in rows)
    return text.getvalue()


def _score_row(finished: Finished, pair: Pair) -> dict[str, Any]:
    if pair in finished.missing:
        known = {"subject": pair[0], "roi": pair[1], "missing": finished.missing[pair].reason}
        return dict.fromkeys(SCORE_COLUMNS) | known
    folder = finished.folder(finished.fits[pair])
    result = read_result(folder)
    with np.load(folder / "voxels.npz") as voxels:
        nested = _normalised(voxels, "pearson_r", "noise_ceiling_r")
        held_out = _normalised(voxels, "held_out_r", "held_out_noise_ceiling_r")
    row = dict.fromkeys(SCORE_COLUMNS) | result | {"subject": pair[0], "roi": pair[1]}
    row["held_out_low"], row["held_out_high"] = result.get("held_out_score_low"), result.get("held_out_score_high")
    row["noise_ceiling_r"], row["noise_normalised_r"] = nested
    row["held_out_noise_ceiling_r"] = held_out[0]
    row["score_from"] = "nested_cv" if "score" in result else "none"
    if "score" not in result and "held_out_score" in result:
        row["score_from"] = "held_out"
        for name in ("score", "score_low", "score_high", "n_voxels_without_score", "n_significant_voxels"):
            row[name] = result.get(f"held_out_{name}")
        row["noise_ceiling_r"], row["noise_normalised_r"] = held_out
    return row


def _normalised(voxels: Any, score: str, ceiling: str) -> tuple[float | None, float | None]:
    """Mean ceiling over voxels, and mean score over mean ceiling (of the voxels that have both)."""
    if ceiling not in voxels or not np.isfinite(voxels[ceiling]).any():
        return None, None
    mean_ceiling = float(np.nanmean(voxels[ceiling]))
    if score not in voxels:
        return mean_ceiling, None
    both = np.isfinite(voxels[score]) & np.isfinite(voxels[ceiling])
    if not both.any() or voxels[ceiling][both].mean() <= 0:
        return mean_ceiling, None
    return mean_ceiling, float(voxels[score][both].mean() / voxels[ceiling][both].mean())


def _write_search(finished: Finished, output: Path) -> None:
    folds = [f"fold_{k + 1}" for k in range(int(finished.plan.folds(finished.readable.train_ids).max()) + 1)]
    names = ("subject", "roi", "network", "weights", "layer", "encoder", "hyperparameters", "score", *folds)
    columns = with_pool(names, finished.plan.config.pools)
    parts = [finished.folder(step) / "search.csv" for step in finished.fits.values()]
    write_bytes(output / "search.csv", b"".join([_csv(columns, []).encode(), *(part.read_bytes() for part in parts)]))


def _write_weights(finished: Finished, output: Path) -> None:
    """Write how much each candidate counts, and each layer's weight in each voxel."""
    folders = {pair: finished.folder(step) for pair, step in finished.fits.items()}
    parts = [(folder / "weights.csv").read_bytes() for folder in folders.values()]
    columns = with_pool(WEIGHT_COLUMNS, finished.plan.config.pools)
    write_bytes(output / "weights.csv", b"".join([_csv(columns, []).encode(), *parts]))
    for (subject, roi), folder in folders.items():
        save_array(output / "weights" / f"{subject}_{roi}.npy", np.load(folder / "layer_weights.npy"))


def _write_predictions(finished: Finished, output: Path) -> None:
    """Held-out stimuli's predictions; where there are none, the nested out-of-fold predictions of the training ones."""
    readable = finished.readable
    for (subject, roi), step in finished.fits.items():
        folder = finished.folder(step)
        ids, split, source = readable.test_ids, "test", folder / "predictions.npy"
        if not ids and (folder / "out_of_fold.npy").is_file():
            ids, split, source = readable.train_ids, "train (out of fold)", folder / "out_of_fold.npy"
        save_array(output / "predictions" / f"{subject}_{roi}.npy", np.load(source))
        table = _csv(("stimulus_id", "split"), ([i, split] for i in ids))
        write_text(output / "predictions" / f"{subject}_{roi}_stimuli.csv", table)
        write_bytes(output / "voxels" / f"{subject}_{roi}.npz", (folder / "voxels.npz").read_bytes())


def _write_partition(finished: Finished, output: Path) -> None:
    """Write unique and shared variance, of ROIs and voxels, where it was asked for."""
    if finished.partitions:
        divided = finished.divided_pairs()
        remove_results(output, finished.partitions.keys() - divided.keys(), [PARTITION_FILE])
        rows = partition_rows(finished.plan, divided, output)
        write_text(output / "variance_partitioning.csv", _csv(PARTITION_COLUMNS, rows))


def _write_layers(finished: Finished, output: Path) -> None:
    pools = finished.plan.config.pools
    rows = []
    for space in finished.spaces:
        facts = json.loads((finished.folder(space.step) / "facts.json").read_text())
        pool = [space.pool] if len(pools) > 1 else []
        sizes = (facts["n_features"], facts["n_components"], facts["explained_variance"])
        rows.append([space.network, space.layer, *pool, *sizes])
    columns = with_pool(("network", "layer", "n_features", "n_components", "explained_variance"), pools)
    write_text(output / "layers.csv", _csv(columns, rows))


def _write_exclusions(finished: Finished, output: Path) -> None:
    rows: list[list[str]] = [["stimulus", "", "", i, reason] for i, reason in finished.readable.broken.items()]
    for (subject, roi), step in finished.responses.items():
        facts = json.loads((finished.folder(step) / "facts.json").read_text())
        rows += [["voxel", subject, roi, voxel, reason] for voxel, reason in facts["invalid"].items()]
    write_text(output / "exclusions.csv", _csv(("kind", "subject", "roi", "name", "reason"), rows))


def _write_submission(finished: Finished, output: Path) -> str | None:
    """Write the challenge files where the dataset is a challenge; return why not, where that is so."""
    if finished.plan.dataset.submission_track is None:
        return None
    remove_submission(finished.plan, output)
    if finished.missing:
        (pair, one), *more = finished.missing.items()
        others = f", and {len(more)} more" if more else ""
        return f"No submission was made: it needs every subject x ROI; {' '.join(pair)} failed ({one.reason}){others}."
    predictions: dict[Pair, FloatArray] = {
        pair: np.load(finished.folder(step) / "predictions.npy") for pair, step in finished.fits.items()
    }
    broken = [s.stimulus_id for s in finished.plan.dataset.test_stimuli if s.stimulus_id in finished.readable.broken]
    if broken:
        return f"No submission was made: {len(broken)} held-out stimuli could not be read ({broken[0]}, ...)."
    try:
        datasets = [finished.plan.dataset]
        challenge_of(datasets).write(predictions, datasets, output / "submission")
    except VoxelcastError as error:
        return f"No submission was made: {error}"
    return None


def _write_provenance(finished: Finished, output: Path) -> None:
    store = finished.plan.store
    steps = {}
    for step in finished.all_steps():
        facts = store.facts(step.step_id)
        steps[step.step_id.folder] = {name: facts.get(name) for name in ("key", "seconds", "peak_mb", "host")}
    provenance = collect_provenance() | {
        "seed": finished.plan.config.seed,
        "device": finished.plan.config.compute.device,
        "networks": {
            network.shown: {"weights": network.card.weights, "weights_hash": network.card.weights_hash}
            for network in finished.plan.networks
        },
        "dataset": {
            "title": finished.plan.dataset.facts.title,
            "licence": finished.plan.dataset.facts.licence,
            "citation": finished.plan.dataset.facts.citation,
        },
        "steps": steps,
    }
    write_json(output / "provenance.json", provenance)
