"""Search, selection and nested cross-validation for one subject x ROI."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_finite, check_option
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.base import Encoder, FittedEncoder
from voxelcast.scoring.correlation import METRICS, fold_pearson_r
from voxelcast.search.base import Candidate, FeatureSpace, PairResult
from voxelcast.search.bayes import bayes_trials
from voxelcast.search.exact import Trials, exact_trials
from voxelcast.search.folds import check_folds
from voxelcast.search.training import PairData, Training, checked_scores, training

METHODS = ("exact", "bayes")


def search_pair(
    Y: FloatArray,
    spaces: Sequence[FeatureSpace],
    encoders: Sequence[Encoder],
    fold_of_row: IntArray,
    *,
    method: str = "exact",
    trials: int = 25,
    metric: str = "pearson_r",
    nested: bool = True,
    seed: int = 0,
    names: Sequence[str] = (),
) -> PairResult:
    """Find the layer, encoder and setting that predict the responses of one subject x ROI best.

    Every candidate is scored on every fold by a model fitted to the other folds, and the best mean is chosen and
    fitted to all training stimuli. With ``nested``, the whole search is repeated for each fold j on the other folds
    alone (inner fold i is predicted by models fitted without i and j); the winner, fitted without j, predicts j.
    These predictions, which no choice saw, give ``voxel_scores``.

    Parameters
    ----------
    Y : ndarray of shape (n_train, q)
        Responses to the training stimuli, finite; constant voxels are better left out beforehand: their scores are
        NaN.
    spaces : sequence of FeatureSpace
        Their rows are the training stimuli in the order of ``Y``, then the held-out stimuli.
    encoders : sequence of Encoder
    fold_of_row : ndarray of shape (n_train,), int
        See `voxelcast.search.folds.make_folds`.
    method : str
        ``"exact"`` tries all settings of ``encoder.settings``; ``"bayes"`` lets Optuna propose ``trials`` of them for
        each layer and encoder.
    trials : int
    metric : str
        What candidates are compared by: ``"pearson_r"``, or ``"pooled_2021"`` to reproduce the 2021 selection.
    nested : bool
    seed : int
        For the proposals of ``"bayes"``; ``"exact"`` leaves nothing to chance.
    names : sequence of str
        Subject and ROI, say: they make the proposals of one pair independent of another's.

    Returns
    -------
    result : PairResult

    Raises
    ------
    OptionError
        If a setting is out of range.
    ShapeError
        If rows do not match.
    DataError
        If a value is not finite, or no candidate has a score.
    """
    check_option("method", method, METHODS)
    check_option("metric", metric, tuple(METRICS))
    n_folds = _checked(Y, spaces, encoders, fold_of_row, nested)
    data = PairData(Y, fold_of_row, n_folds)
    ledger = _Ledger(n_folds if nested else 0)
    for place, space in enumerate(spaces):
        source = training(space, data)
        for encoder in encoders:
            runs: Iterator[tuple[int | None, Trials]]
            if method == "exact":
                runs = exact_trials(encoder, source, data, nested, metric)
            else:
                own = derive_seed(seed, *names, space.network, space.layer, encoder.name)
                runs = bayes_trials(encoder, source, data, nested, metric, trials=trials, seed=own)
            for outer, tried in runs:
                ledger.enter(outer, place, space, encoder, tried)
    chosen = ledger.choice(None)
    # The last layer's moments are still there.
    last = len(spaces) - 1
    model = _fit(source if chosen.place == last else training(spaces[chosen.place], data), chosen, ())
    test = checked_scores(spaces[chosen.place], (), data.n_train)[data.n_train :]
    choices = [ledger.choice(outer) for outer in range(n_folds)] if nested else []
    out_of_fold = _nested_predictions(data, spaces, choices) if nested else None
    return PairResult(
        candidates=tuple(ledger.candidates),
        chosen=chosen.candidate,
        model=model,
        predictions=model.predict(test),
        out_of_fold=out_of_fold,
        nested_choices=tuple(choice.candidate for choice in choices),
        voxel_scores=None if out_of_fold is None else fold_pearson_r(data.Y, out_of_fold, fold_of_row),
    )


@dataclass(frozen=True)
class _Choice:
    """A candidate, where its feature space stands in the list, and the encoder that fits it."""

    candidate: Candidate
    place: int
    encoder: Encoder


class _Ledger:
    """What was tried, and the best so far: of the plain search (outer None) and of every outer fold."""

    def __init__(self, n_outer: int) -> None:
        self.candidates: list[Candidate] = []
        self._best: dict[int | None, _Choice | None] = dict.fromkeys([None, *range(n_outer)])

    def enter(self, outer: int | None, place: int, space: FeatureSpace, encoder: Encoder, tried: Trials) -> None:
        """Note the candidates of one layer and encoder; only a strictly better one replaces the best."""
        made = [
            Candidate(space.network, space.layer, encoder.name, setting, scores)
            for setting, scores in zip(tried.settings, tried.scores, strict=True)
        ]
        if outer is None:
            self.candidates += made
        # A NaN compares as worse than anything; max returns the first of equals.
        scores = [-np.inf if np.isnan(candidate.score) else candidate.score for candidate in made]
        top = max(range(len(made)), key=scores.__getitem__, default=None)
        best = self._best[outer]
        if top is not None and scores[top] > (-np.inf if best is None else best.candidate.score):
            self._best[outer] = _Choice(made[top], place, encoder)

    def choice(self, outer: int | None) -> _Choice:
        """Return the best candidate, or raise DataError if none has a score."""
        best = self._best[outer]
        if best is None:
            where = "" if outer is None else f" outside fold {outer}"
            raise DataError(
                f"no candidate has a score{where}: in some fold all responses or all predictions are constant; "
                "leave out constant voxels and layers, or ask for fewer folds"
            )
        return best


def _fit(source: Training, choice: _Choice, excluded: tuple[int, ...]) -> FittedEncoder:
    """Fit the chosen candidate to the training stimuli outside the folds ``excluded``."""
    stats = source.moments(excluded)
    setting = choice.candidate.setting
    coefficients = choice.encoder.path(stats, [setting]).coefficients(0)
    return FittedEncoder(setting, coefficients, stats.y_mean - stats.x_mean @ coefficients)


def _nested_predictions(data: PairData, spaces: Sequence[FeatureSpace], choices: Sequence[_Choice]) -> FloatArray:
    """Predict every fold by its own choice, fitted without it, ndarray of shape (n_train, q)."""
    predictions = np.empty(data.Y.shape)
    for place in sorted({choice.place for choice in choices}):
        source = training(spaces[place], data)
        for outer, choice in enumerate(choices):
            if choice.place == place:
                model = _fit(source, choice, (outer,))
                predictions[data.rows[outer]] = model.predict(source.features((outer,), outer))
    return predictions


def _checked(
    Y: FloatArray, spaces: Sequence[FeatureSpace], encoders: Sequence[Encoder], fold_of_row: IntArray, nested: bool
) -> int:
    """Check what a search is given and return the number of folds."""
    if Y.ndim != 2 or Y.shape[1] == 0:
        raise ShapeError(f"responses must have shape (n_train, n_voxels) with at least one voxel; got {Y.shape}")
    check_finite("responses", Y, "leave out those voxels or stimuli")
    if not spaces or not encoders:
        raise OptionError(
            f"a search needs at least one layer and one encoder; got {len(spaces)} layers and {len(encoders)} encoders"
        )
    n_folds = check_folds(fold_of_row, Y.shape[0])
    if nested and n_folds < 3:
        raise OptionError(f"nested cross-validation needs at least 3 folds; got {n_folds}; ask for more folds")
    return n_folds
