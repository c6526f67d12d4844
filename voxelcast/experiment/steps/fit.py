"""The step that finds, evaluates and refits the best encoding model of one subject x ROI."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.learned.trunk_settings import TRUNK
from voxelcast.encoders.params import AutoMLSettings, Params
from voxelcast.encoders.registry import ENCODERS, get_encoder
from voxelcast.execution.steps import Step, StepContext
from voxelcast.experiment.steps.compress import FoldedLayers, compressed, layer_keys
from voxelcast.experiment.steps.extract import Readable
from voxelcast.experiment.steps.responses import (
    PairJob,
    TrainingResponses,
    mean_responses,
    spread,
    valid_responses,
)
from voxelcast.models.pair import FittedPart, Taken, take_apart
from voxelcast.results.schema import SEARCH, WEIGHTS, Pair, Table
from voxelcast.results.write import row_text
from voxelcast.scoring.exchangeability import dependence_warnings, sketch
from voxelcast.scoring.prediction_scores import Predicted, PredictionScorer, average_rows
from voxelcast.scoring.settings import IntervalSettings, SignificanceSettings
from voxelcast.search.base import Candidate, PairContext, PairResult, Part, Share
from voxelcast.search.evaluation_log import open_log
from voxelcast.search.experts import checked_atlas
from voxelcast.search.joined import JOINED
from voxelcast.search.pair import search_pair
from voxelcast.search.repeated import combine_repeats
from voxelcast.search.settings import PairSettings, SharingSettings
from voxelcast.search.sharing import Sharing
from voxelcast.search.stacked import can_stack, few
from voxelcast.store.result import ResultWriter
from voxelcast.store.steps import StepStore

_FITTED = (JOINED, TRUNK)
"""What stands for a network where features are made of all layers."""


@dataclass(frozen=True, eq=False)
class FitJob(PairJob):
    """Search, evaluate and refit; nothing of it depends on held-out stimuli, where models can be saved.

    ``sharers`` are the prepared responses of the subjects that targets are shared with, ``experts`` those of the ROIs
    whose models take part, and ``atlases`` the cluster of every voxel. The whole search is done over
    each of the ``partitions`` into folds; with ``ensemble.joined`` the last layer of each joins the others. ``automl``
    is None where no encoder uses it; ``truncate``: whether the first k components of a layer are those of a compression
    to k.
    """

    kind = "fit"
    version = 7
    subject: str
    roi: str
    responses: TrainingResponses
    sharers: tuple[TrainingResponses, ...]
    experts: tuple[tuple[str, TrainingResponses], ...]
    atlases: tuple[IntArray, ...]
    stimuli: Readable
    partitions: tuple[FoldedLayers, ...]
    encoders: tuple[str, ...]
    automl: AutoMLSettings | None
    settings: PairSettings
    share: SharingSettings
    truncate: bool
    interval: IntervalSettings
    significance: SignificanceSettings
    saved: bool

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write what was found.

        ``scores``, a row; ``search.csv`` and ``weights.csv``, both without header; ``layer_weights`` (n_layers,
        n_voxels), ``out_of_fold``, and the groups ``voxels`` and ``model``, with ``parts``, the cards of the models
        (`voxelcast.models.pair.take_apart`). Where these cannot be saved, ``predictions`` of the held-out stimuli, and
        no ``model``. A search by proposals keeps its scores in the scratch folder until it is done.
        """
        responses, stimuli = context.read(self.responses.step), self.stimuli
        train, valid = valid_responses(responses, stimuli.train_rows)
        results = self.search(train, valid, context)
        result = results[0] if len(results) == 1 else combine_repeats(results)
        fallback = None if valid.all() else mean_responses(responses, stimuli.train_rows)
        writer.array("layer_weights", spread(result.layer_weights, valid))
        if self.saved:
            cards, arrays = self._taken_apart(result.parts, train, valid, fallback)
            writer.json("parts", cards)
            writer.arrays("model", arrays)
        else:
            writer.array("predictions", _spread(result.predictions, valid, fallback))
        writer.text("search.csv", self._text(SEARCH, self._search_rows(result.candidates)))
        writer.text("weights.csv", self._text(WEIGHTS, self._weight_rows(result)))
        voxels: dict[str, FloatArray] = responses.arrays("ceilings")
        heaviest = map(heaviest_candidate, result.nested_shares, result.nested_choices)
        row = self._candidate_row(heaviest_candidate(result.shares, result.chosen)) | {
            "selection_score": result.selection_score,
            "ensemble": self.settings.ensemble.method,
            "selection": self.settings.selection.per,
            "n_models": len(result.shares),
            "n_voxels": int(valid.sum()),
            "n_excluded_voxels": int((~valid).sum()),
            "rules": [vars(rule) for rule in result.rules],
            "nested_choices": [self._candidate_row(candidate) for candidate in heaviest],
        }
        if result.out_of_fold is not None and result.voxel_scores is not None:
            fold_ids = [folded.fold_ids for folded in self.partitions]
            nested, scored = score_nested(self._scorer, train, results, fold_ids, stimuli.groups, gains=True)
            writer.array("out_of_fold", _spread(result.out_of_fold, valid, fallback))
            voxels["pearson_r"] = spread(result.voxel_scores, valid)
            writer.arrays("jackknife", self._scorer.jackknife(nested, stimuli.train_ids))
            tested, counted = self._scorer.test_voxels(nested, valid)
            voxels, row = voxels | tested, row | scored | counted
            row["dependence"] = self._dependence(train, context)
        writer.arrays("voxels", voxels)
        writer.json("scores", row)
        shutil.rmtree(context.scratch, ignore_errors=True)

    def _taken_apart(
        self, parts: Sequence[Part], train: FloatArray, valid: BoolArray, fallback: FloatArray | None
    ) -> Taken:
        keys = layer_keys(self.partitions[0].layers)
        fitted = [
            FittedPart(
                keys[part.network, part.layer, part.pool],
                part.encoder,
                part.model,
                part.weights,
                part.n_features,
                shown_params(part.model.params),
            )
            for part in parts
        ]
        return take_apart(fitted, valid, train.mean(axis=0), np.zeros(len(valid)) if fallback is None else fallback)

    def search(self, train: FloatArray, valid: BoolArray, context: StepContext) -> list[PairResult]:
        """Search with each partition into folds for what predicts ``train``, (n_train, n_valid_voxels)."""
        rows, sharing = self.stimuli.train_rows, None
        if self.share.components:
            others = [valid_responses(context.read(one.step), rows)[0] for one in self.sharers]
            sharing = Sharing(self.share.components, others)
        around = PairContext(
            (self.subject, self.roi),
            self.truncate,
            self._n_delays,
            sharing,
            {roi: valid_responses(context.read(one.step), rows)[0] for roi, one in self.experts},
            [checked_atlas(atlas, len(valid), self.name)[valid] for atlas in self.atlases],
            self._is_series,
        )
        return [self._searched(train, number, around, context) for number in range(len(self.partitions))]

    @property
    def _pools(self) -> tuple[str, ...]:
        """Pools over time, where there are several."""
        return tuple(dict.fromkeys(layer.pool for layer in self.partitions[0].layers if layer.pool))

    @property
    def _scorer(self) -> PredictionScorer:
        how = self.settings.seed, self._is_series, self.settings.voxels_choose, self.settings.device
        return PredictionScorer(self.interval, self.significance, *how)

    def _dependence(self, train: FloatArray, context: StepContext) -> list[str]:
        """Say where stimuli of different folds depend on each other; the runs of a time series lie in one fold."""
        if self._is_series:
            return []
        folded, n = self.partitions[0], len(train)
        plain = [one for one in folded.layers if one.network not in _FITTED and not one.trained_by]
        spaces = (layer.open(context).scores()[:n] for layer in plain or folded.layers)
        return dependence_warnings(train, sketch(spaces), folded.fold_ids, self.stimuli.train_ids)

    @property
    def _is_series(self) -> bool:
        """Whether groups are runs of a time series."""
        return self.stimuli.series

    @property
    def _n_delays(self) -> int:
        delayed = [one.delayed for one in compressed(self.partitions[0])][:1]  # a joint search has the same for all
        return delayed[0].n_taken if delayed and delayed[0] else 1

    def _searched(self, train: FloatArray, number: int, around: PairContext, context: StepContext) -> PairResult:
        """Search with one partition into folds."""
        folded = self.partitions[number]
        repeat = [f"repeat {number}"] if number else []
        seed, budget = derive_seed(self.settings.seed, *around.names), self.automl or AutoMLSettings()
        scratch = context.scratch.joinpath(*repeat)
        with open_log(scratch) if self.settings.search.method != "exact" else nullcontext() as log:
            return search_pair(
                train,
                [layer.open(context) for layer in folded.layers],
                [get_encoder(name, seed, budget) for name in self.encoders],
                folded.fold_ids,
                self.settings,
                context=replace(around, names=(*around.names, *repeat)),
                log=log,
            )

    def _candidate_row(self, candidate: Candidate) -> dict[str, Any]:
        """Name a candidate by the columns of the tables; only with several pools there is one for the pool."""
        n_features = candidate.n_features
        kept = {} if n_features is None else {"compress.components": n_features // self._n_delays}
        weights = {layer.network: layer.weights for layer in self.partitions[0].layers}
        return {
            "network": candidate.network,
            "weights": weights[candidate.network],
            "layer": candidate.layer,
            **({"pool": candidate.pool} if self._pools else {}),
            "encoder": candidate.encoder,
            "hyperparameters": shown_params({**kept, **candidate.params}),
            "selection_score": candidate.score,
        }

    def _search_rows(self, candidates: Sequence[Candidate]) -> Iterator[dict[str, Any]]:
        for candidate in candidates:
            scores = {f"fold_{k + 1}": score for k, score in enumerate(candidate.fold_scores.tolist())}
            yield self._candidate_row(candidate) | {"score": candidate.score} | scores

    def _weight_rows(self, result: PairResult) -> Iterator[dict[str, Any]]:
        """List what counts in the predictions: of the final models first, then of each outer fold's."""
        searches = [("all", result.shares)]
        searches += [(str(fold + 1), shares) for fold, shares in enumerate(result.nested_shares)]
        for fold, shares in searches:
            for share in shares:
                counted = {"fold": fold, "weight": share.weight, "n_voxels": share.n_voxels}
                yield self._candidate_row(share.candidate) | counted

    def _text(self, table: Table, rows: Iterator[dict[str, Any]]) -> str:
        n_folds = int(self.partitions[0].fold_ids.max()) + 1
        named = ({"subject": self.subject, "roi": self.roi, **row} for row in rows)
        return row_text(table, named, pools=self._pools, n_folds=n_folds)


def on_device(steps: Mapping[Pair, Step], store: StepStore, device: str) -> dict[Pair, Step]:
    """Have fits (`FitJob`) done on a device, where an encoder can; their responses are prepared.

    Those of many voxels, and kernels of many stimuli, take it alone. Of few voxels, those that are searched in stacks
    share it; single fits of few voxels are quicker side by side, on a core each.
    """

    def placed(step: Step) -> Step:
        job: Any = step.job
        encoders = [ENCODERS.get(name) for name in job.encoders]
        if device == "cpu" or not any(encoder.takes_tensors for encoder in encoders):
            return step
        n_voxels = store.read(job.responses.step).json("facts")["n_voxels"]
        small = few(encoders, len(job.stimuli.train_rows), n_voxels)
        stacked = can_stack(job.settings, encoders) and not job.share.components
        if small and not stacked:
            return step
        there = replace(job, settings=replace(job.settings, device=device))
        return replace(step, job=there, uses_gpu=True, shares_gpu=small)

    return {pair: placed(step) for pair, step in steps.items()}


def score_nested(
    scorer: PredictionScorer,
    train: FloatArray,
    results: Sequence[PairResult],
    partitions: Sequence[IntArray],
    groups: Sequence[str] | None,
    *,
    gains: bool,
) -> tuple[Predicted, dict[str, Any]]:
    """Score the nested predictions of each partition into folds; return the first's, and the mean of all scores.

    ``gains``: whether they are compared with the best single candidate, too.
    """
    nested, rows = [], []
    for result, fold_ids in zip(results, partitions, strict=True):
        assert result.out_of_fold is not None  # cross-validation is nested
        predicted = Predicted("", train, result.out_of_fold, scorer.judged(fold_ids, groups), result.inner)
        gain = scorer.gain_row(predicted, result.single_out_of_fold) if gains else {}
        nested.append(predicted)
        rows.append(scorer.score_row(predicted) | gain)
    return nested[0], average_rows(rows)


def shown_params(params: Params) -> str:
    """Write hyper-parameters as text: ``n_components=4``; several joined by ``"; "``."""
    return "; ".join(f"{name}={value!r}" for name, value in params.items())


def heaviest_candidate(shares: Sequence[Share], single: Candidate) -> Candidate:
    """Return the layer that counts most; where all weight is with the model on all layers, the best single one."""
    return next((share.candidate for share in shares if share.candidate.network != JOINED), single)


def _spread(values: FloatArray, valid: BoolArray, fallback: FloatArray | None) -> FloatArray:
    """Insert the predictions of valid voxels; an excluded voxel is predicted by its mean (0 if it has none)."""
    if fallback is None:
        return values
    full = np.tile(np.nan_to_num(fallback), (len(values), 1))
    full[:, valid] = values
    return full
