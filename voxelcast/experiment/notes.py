"""What a reader of an experiment's scores has to know."""

from __future__ import annotations

from voxelcast.experiment.finished import Finished
from voxelcast.experiment.missing import missing_note
from voxelcast.experiment.settings import ExperimentConfig
from voxelcast.experiment.steps.fit import read_result


def experiment_notes(finished: Finished) -> list[str]:
    """Return what a reader of the scores has to know, a sentence or two each."""
    config = finished.plan.config
    notes = [missing_note(finished.missing, len(finished.plan.pairs))] if finished.missing else []
    notes += [
        f"{network.shown}: weights are {network.card.weights}; its scores say nothing of a trained network."
        for network in finished.plan.networks
        if network.card.weights.startswith("random")
    ]
    if config.control == "shuffle":
        notes.append("Control: the responses were shuffled over training stimuli; every score should be near 0.")
    if config.compression_learns and config.compress.fit == "once":
        notes.append(
            "Compression was fitted once on all training stimuli (as in 2021), so features of held-out folds went into "
            "it; scores may be slightly too high."
        )
    if not config.folds.nested:
        notes.append("Nested cross-validation was switched off: selection_score is the best of many and too high.")
    if config.folds.repeats > 1:
        notes.append(_repeats_note(config))
    notes += _significance_notes(finished)
    if config.selection.per == "voxel" or config.ensemble.method != "none":
        notes.append(_mixture_note(config))
    if config.search.metric != "pearson_r":
        notes.append(f"Layers and hyper-parameters were chosen by {config.search.metric}, not by the mean r per voxel.")
    if finished.divided.failures:
        first, n = finished.divided.failures[0], len(finished.divided.failures)
        failed = f"{first.step_id.name} failed ({first.reason})"
        notes.append(f"The variance of {n} subject x ROI was not divided: {failed}.")
    if finished.readable.broken:
        notes.append(f"{len(finished.readable.broken)} stimuli could not be read and were left out.")
    return notes


def _repeats_note(config: ExperimentConfig) -> str:
    over = f"means over {config.folds.repeats} partitions into folds"
    if not config.folds.nested:
        return f"Selection scores and predictions are {over}; the search is that of the first."
    return (
        f"Scores and bounds of intervals are {over}; the search, p-values, measured against predicted responses and "
        "out-of-fold predictions are those of the first."
    )


def _significance_notes(finished: Finished) -> list[str]:
    """Say where voxels could not be tested because nothing can change places."""
    results = {pair: read_result(finished.folder(step)) for pair, step in finished.fits.items()}
    untested = [" ".join(pair) for pair, result in results.items() if any("no_permutation" in key for key in result)]
    if not untested:
        return []
    return [
        f"The voxels of {len(untested)} subject x ROI ({untested[0]}, ...) were not tested: groups are moved whole, "
        "and no fold holds two of them, nor are all folds of one size."
    ]


def _mixture_note(config: ExperimentConfig) -> str:
    who = "every voxel chose for itself" if config.selection.per == "voxel" else "one choice was made for each ROI"
    method = {
        "none": "",
        "stacking": "; layers were combined by stacking",
        "average": f"; the {config.ensemble.top} best layers were averaged",
        "banded_ridge": "; layers were combined by banded ridge regression",
    }[config.ensemble.method]
    joined = ", together with a model on all of them joined" if config.ensemble.joined else ""
    gain = "; scores.csv has the gain over the best single model" if config.folds.nested else ""
    return (
        f"Predictions combine several models: {who}{method}{joined}. The layer, encoder and setting shown are the "
        f"heaviest (weights.csv has all weights){gain}."
    )
