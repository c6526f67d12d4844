"""What a run has finished, which subjects x ROI are missing, and what a reader of the scores has to know of both."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.execution.stage import Failure
from voxelcast.execution.steps import Step
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.experiment.steps.compress import FoldedLayers
from voxelcast.experiment.steps.extract import Readable
from voxelcast.experiment.steps.kept import KeptLayer
from voxelcast.results.schema import Pair
from voxelcast.scoring.intervals import few_stimuli
from voxelcast.store.result import StepResult
from voxelcast.store.steps import StepId

_NUMBERS = re.compile(r"[\d.]+|\(.*?\)")
_NAMED = 3  # in one line; scores.csv has them all
_GO_ON = "fix the cause and run the same command again: it does just what is missing"


@dataclass(frozen=True)
class Missing:
    """Why a subject x ROI has no results: in a line, and the file that has the rest."""

    reason: str
    log: Path | None


@dataclass(frozen=True)
class Finished:
    """The steps of an experiment that are done, and the subjects x ROI that are missing because a step failed.

    ``predicts`` are of held-out stimuli, ``kept`` the layers whose transforms are kept. ``steps`` has every step that
    the results come from, in the order of the work; ``undivided`` the failures of those that divide variance, and
    ``untrained`` says what was left out as a training failed.
    """

    plan: Plan
    readable: Readable
    responses: Mapping[Pair, Step]
    layers: FoldedLayers
    fits: Mapping[Pair, Step]
    predicts: Mapping[Pair, Step]
    kept: Sequence[KeptLayer]
    controls: Mapping[Pair, Sequence[Step]]
    missing: Mapping[Pair, Missing]
    divided: Mapping[Pair, Step]
    undivided: Sequence[Failure]
    steps: Sequence[Step]
    untrained: Sequence[str]

    def read(self, step: Step) -> StepResult:
        """Return a step's result."""
        return self.plan.store.read(step.step_id)

    def scores(self, pair: Pair) -> dict[str, Any]:
        """Return the row of scores of a pair, held-out ones too."""
        row: dict[str, Any] = self.read(self.fits[pair]).json("scores")
        return row | (self.read(self.predicts[pair]).json(f"{pair[1]}/scores") if pair in self.predicts else {})

    def voxels(self, pair: Pair) -> dict[str, FloatArray]:
        """Return the values of each voxel of a pair, held-out ones too."""
        found = self.read(self.fits[pair]).arrays("voxels")
        return found | (self.read(self.predicts[pair]).arrays(f"{pair[1]}/voxels") if pair in self.predicts else {})

    def predictions(self, pair: Pair) -> FloatArray:
        """Return the predictions of the held-out stimuli, (n_test, n_voxels)."""
        if pair in self.predicts:
            return self.read(self.predicts[pair]).array(f"{pair[1]}/predictions")
        return np.empty((0, self.read(self.fits[pair]).array("layer_weights").shape[1]))

    def notes(self) -> list[str]:
        """Return what a reader of the scores has to know, a sentence or two each."""
        config = self.plan.config
        notes = [missing_note(self.missing, len(self.plan.pairs))] if self.missing else []
        notes += [
            f"{network.shown}: weights are {network.card.weights}; its scores say nothing of a trained network."
            for network in self.plan.networks
            if network.card.weights.startswith("random")
        ]
        notes += self._control_notes()
        if config.compression_learns and config.compress.fit == "once":
            notes.append(
                "Compression was fitted once on all training stimuli (as in 2021), so features of held-out folds went "
                "into it; scores may be slightly too high."
            )
        if not config.folds.nested:
            notes.append("Nested cross-validation was switched off: selection_score is the best of many and too high.")
        if config.unsaved and config.models != "none":
            notes.append(f"Models were not saved, as {config.unsaved}; all else is as always.")
        if config.folds.repeats > 1:
            notes.append(_repeats_note(config))
        notes += [*self._interval_notes(), *self.warnings()]
        drifts = {pair: self.read(step).json("facts")["drift"] for pair, step in self.responses.items()}
        notes += [f"{' '.join(pair)}: {drift}" for pair, drift in drifts.items() if drift][:_NAMED]
        if config.selection.per == "voxel" or config.ensemble.method != "none":
            notes.append(_mixture_note(config))
        if config.search.metric != "pearson_r":
            notes.append(
                f"Layers and hyper-parameters were chosen by {config.search.metric}, not by the mean r per voxel."
            )
        if self.undivided:
            first, n = self.undivided[0], len(self.undivided)
            failed = f"{first.step_id.name} failed ({first.reason})"
            notes.append(f"The variance of {n} subject x ROI was not divided: {failed}.")
        notes += self.untrained
        if self.readable.broken:
            notes.append(f"{len(self.readable.broken)} stimuli could not be read and were left out.")
        return notes

    def control_rows(self) -> list[dict[str, Any]]:
        """Compare each score with those of shuffled responses; None where nothing could change places."""
        rows = []
        for pair, steps in self.controls.items():
            score = self.read(self.fits[pair]).json("scores")["score"]
            scores = [self.read(step).json("score") for step in steps]
            there = np.array([one for one in scores if one is not None])
            row: dict[str, Any] = {"subject": pair[0], "roi": pair[1], "score": score, "n_shuffles": len(there)}
            if score is not None and there.size:
                spread = {"mean": there.mean(), "sd": there.std(ddof=1), "low": there.min(), "high": there.max()}
                row |= {f"shuffled_{name}": float(value) for name, value in spread.items()}
                row["p_value"] = float(((there >= score).sum() + 1) / (len(there) + 1))
            rows.append(row)
        return rows

    def _control_notes(self) -> list[str]:
        """Say which scores lie outside those of shuffled responses."""
        rows = self.control_rows()
        if not rows:
            return []
        n = self.plan.config.shuffles
        said: dict[str, list[str]] = {"above all": [], "among or below": [], "not compared with": []}
        for row in rows:
            if "p_value" not in row:
                said["not compared with"].append(f"{row['subject']} {row['roi']}")
                continue
            where = "above all" if row["score"] > row["shuffled_high"] else "among or below"
            low, high = row["shuffled_low"], row["shuffled_high"]
            numbers = f"{row['score']:.3f}; shuffled {row['shuffled_mean']:.3f}, {low:.3f} to {high:.3f}"
            said[where].append(f"{row['subject']} {row['roi']}: {numbers}")
        return [
            f"Control: {len(named)} of {len(rows)} scores are {where} those of {n} shuffles of the responses "
            f"({_first_of(named)})."
            for where, named in said.items()
            if named
        ]

    def warnings(self) -> list[str]:
        """Say where stimuli depend on each other, and where no voxel can be significant; once, if of several pairs."""
        found: dict[str, list[str]] = {}
        for pair, result in self._results():
            for said in (*result.get("dependence", ()), result.get("untestable"), result.get("held_out_untestable")):
                if said:
                    found.setdefault(_NUMBERS.sub("", said), []).append(f"{' '.join(pair)}: {said}")
        return [f"{said[0]} So of {len(said)} subject x ROI." if len(said) > 1 else said[0] for said in found.values()]

    def _results(self) -> list[tuple[Pair, dict[str, Any]]]:
        return [(pair, self.scores(pair)) for pair in self.fits]

    def _interval_notes(self) -> list[str]:
        """Say where folds are small, and where no honest interval can be had."""
        few = few_stimuli(self.layers.fold_ids) if self.plan.config.folds.nested else ""
        rows = [row for _, row in self._results()]
        reasons = {"Scores": "no_interval", "Held-out scores": "held_out_no_interval"}
        found = {what: next(filter(None, (row.get(name) for row in rows)), "") for what, name in reasons.items()}
        return [few] * bool(few) + [f"{what} have no interval: {why}." for what, why in found.items() if why]


def find_missing(
    plan: Plan,
    responses: Mapping[Pair, Step],
    fits: Mapping[Pair, Step],
    predicts: Mapping[Pair, Step],
    failures: Sequence[Failure],
    untrained: Sequence[str] = (),
) -> dict[Pair, Missing]:
    """Find the pairs of which a step failed, or the responses of another that they rely on, or every training."""
    failed = {failure.step_id: failure for failure in failures}
    missing = {}
    for pair in plan.pairs:
        needed = [responses[other].step_id for other in (pair, *plan.relied_on(pair))]
        own = [steps[pair].step_id for steps in (fits, predicts) if pair in steps]
        cause = next((failed[step] for step in (*needed, *own) if step in failed), None)
        unscored = _unscored(plan, predicts, failed, pair) if cause is None and pair in predicts else ""
        if unscored:
            missing[pair] = Missing(" ".join(unscored.split()), None)
        if cause is not None:
            what = f"responses of {cause.step_id.name} failed: " if cause.step_id in needed else ""
            missing[pair] = Missing(" ".join(f"{what}{cause.reason}".split()), cause.log)
        elif pair not in fits:
            told = [note for note in untrained if note.startswith(f"{' '.join(pair)}: ")]
            missing[pair] = Missing(f"all trainings failed: {'; '.join(told)}", None)
    return missing


def _unscored(plan: Plan, predicts: Mapping[Pair, Step], failed: Collection[StepId], pair: Pair) -> str:
    """Return why the predictions of a pair could not be made or scored; empty where they were."""
    step = predicts[pair].step_id
    return "" if step in failed else str(plan.store.read(step).json(f"{pair[1]}/scores").get("failed", ""))


def missing_note(missing: Mapping[Pair, Missing], n_pairs: int) -> str:
    """Say in the results that they are incomplete."""
    named = _first_of([f"{' '.join(pair)}: {one.reason}" for pair, one in missing.items()])
    return (
        f"Incomplete: {len(missing)} of {n_pairs} subject x ROI failed, which no mean counts ({named}). scores.csv "
        "names every one; the same command runs just what is missing."
    )


def missing_line(missing: Mapping[Pair, Missing], n_pairs: int, output: Path | None = None) -> str:
    """Say to the user at the end of a run what is missing, why, where its logs are and how to go on.

    ``output``: where the results of the others are; None if there are no others.
    """
    named = _first_of([f"{' '.join(pair)}: {one.reason}{_log(one.log)}" for pair, one in missing.items()])
    others = f"the others' results are in {output}, marked as incomplete" if output else "there are no results"
    return f"{len(missing)} of {n_pairs} subject x ROI failed: {named}; {others}; {_GO_ON}"


def undivided_line(failures: Sequence[Failure], n_pairs: int, output: Path) -> str:
    """Say to the user at the end of a run that the variance of some pairs was not divided, and how to go on."""
    named = _first_of([f"{one.step_id.name}: {one.reason}{_log(one.log)}" for one in failures])
    what = f"the variance of {len(failures)} of {n_pairs} subject x ROI was not divided"
    return f"{what}: {named}; all else is in {output}; {_GO_ON}"


def _log(path: Path | None) -> str:
    return f" (log: {path})" if path else ""


def _first_of(reasons: Sequence[str]) -> str:
    more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
    return "; ".join(reasons[:_NAMED]) + more


def _repeats_note(config: ExperimentSettings) -> str:
    over = f"means over {config.folds.repeats} partitions into folds"
    if not config.folds.nested:
        return f"Selection scores and predictions are {over}; the search is that of the first."
    return (
        f"Scores and bounds of intervals are {over}; the search, p-values, measured against predicted responses and "
        "out-of-fold predictions are those of the first."
    )


def _mixture_note(config: ExperimentSettings) -> str:
    who = "every voxel chose for itself" if config.selection.per == "voxel" else "one choice was made for each ROI"
    method = {
        "none": "",
        "stacking": "; layers were combined by stacking",
        "average": f"; the {config.ensemble.top} best layers were averaged",
        "mean": "; all layers were averaged, as stated beforehand",
        "softmax": "; layers weigh exp(score / temperature)",
        "banded_ridge": "; layers were combined by banded ridge regression",
        "experts": f"; the models of {', '.join(config.ensemble.experts)} were stacked with the other ROIs' own",
        "atlases": f"; each cluster of voxels has its best layer, averaged over {len(config.ensemble.atlases)} atlases",
    }[config.ensemble.method]
    joined = ", together with a model on all of them joined" if config.ensemble.joined else ""
    gain = "; scores.csv has the gain over the best single model" if config.folds.nested else ""
    return (
        f"Predictions combine several models: {who}{method}{joined}. The layer, encoder and setting shown are the "
        f"heaviest (weights.csv has all weights){gain}."
    )
