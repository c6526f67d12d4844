"""Nested cross-validation of encoding models on arrays."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import xarray as xr
from annotated_types import Ge

from voxelcast.api.feature_space import compress_spaces, feature_spaces, join_spaces
from voxelcast.api.labelled import Rows, mean_responses, response_rows
from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.checks import check_same_stimuli, check_shape
from voxelcast.core.errors import DataError, OptionError, VoxelcastWarning
from voxelcast.core.seeds import derive_seed
from voxelcast.core.settings import settings
from voxelcast.encoders.params import AutoMLSettings
from voxelcast.encoders.registry import check_exact, get_encoder
from voxelcast.experiment.steps.fit import heaviest_candidate, score_nested, shown_params
from voxelcast.experiment.steps.responses import ceilings, invalid_voxels, spread
from voxelcast.scoring.ceiling import noise_normalised_r, normalised_mean
from voxelcast.scoring.exchangeability import dependence_warnings, sketch
from voxelcast.scoring.intervals import few_stimuli
from voxelcast.scoring.permutation import Exchange
from voxelcast.scoring.prediction_scores import PredictionScorer
from voxelcast.scoring.settings import IntervalSettings, SignificanceSettings
from voxelcast.search.base import FeatureSpace, PairContext, PairResult
from voxelcast.search.folds import choose_folds, given_folds
from voxelcast.search.pair import search_pair
from voxelcast.search.repeated import combine_repeats
from voxelcast.search.settings import EnsembleSettings, FoldSettings, PairSettings, SearchSettings, SelectionSettings


@settings
class EvaluationSettings:
    """How encoding models are searched, chosen, combined and tested: sections of an experiment file.

    Parameters
    ----------
    search : SearchSettings
        How hyper-parameters are searched.
    selection : SelectionSettings
        Who chooses among layers and hyper-parameters: the ROI or each voxel.
    ensemble : EnsembleSettings
        How several feature spaces are combined.
    interval : IntervalSettings
        Interval of the score.
    significance : SignificanceSettings
        Permutation test of each voxel.
    automl : AutoMLSettings
        Time and memory of automatic machine learning.
    seed : int
        Of folds, proposals and permutations.

    Examples
    --------
    >>> import voxelcast as vc
    >>> from voxelcast.search.settings import EnsembleSettings
    >>> vc.EvaluationSettings(ensemble=EnsembleSettings(method="stacking"), seed=1).ensemble.method
    'stacking'
    """

    search: SearchSettings = SearchSettings()
    selection: SelectionSettings = SelectionSettings()
    ensemble: EnsembleSettings = EnsembleSettings()
    interval: IntervalSettings = IntervalSettings()
    significance: SignificanceSettings = SignificanceSettings()
    automl: AutoMLSettings = AutoMLSettings()
    seed: Annotated[int, Ge(0)] = 0

    @property
    def scorer(self) -> PredictionScorer:
        """What scores the predictions."""
        voxels_choose = PairSettings(self.search, self.selection, self.ensemble).voxels_choose
        return PredictionScorer(self.interval, self.significance, self.seed, voxels_choose=voxels_choose)


DEFAULTS = EvaluationSettings()


def evaluate(
    features: Any,
    responses: Any,
    *,
    encoders: str | Sequence[str] = "ridge",
    folds: int | FoldSettings | Sequence[Any] | Mapping[str, Any] | IntArray | None = None,
    groups: Sequence[Any] | Mapping[str, Any] | None = None,
    settings: EvaluationSettings = DEFAULTS,
) -> xr.Dataset:
    """Predict responses from features, and score the predictions by nested cross-validation.

    Each fold is predicted by a model whose compression, hyper-parameters, layer and weights were estimated on the other
    folds alone. The numbers are those of an experiment (`voxelcast.run`) with the same settings, ids and seed.

    Parameters
    ----------
    features : array-like, DataFrame, DataArray or FeatureSpace of shape (n_stimuli, n_features), or several
        Several in a mapping or a list compete, or are combined as ``settings.ensemble`` says. What is no FeatureSpace
        is compressed to at most 50 principal components.
    responses : array-like, DataFrame, DataArray or ResponseSet of shape (n_stimuli, n_voxels)
        Or (n_stimuli, n_repetitions, n_voxels): models are fitted to the mean over repetitions, and noise ceilings are
        estimated. In any linear unit; NaN marks a missing repetition.
    encoders : str or sequence of str
        Of `voxelcast.list_encoders`; several compete.
    folds : int, FoldSettings, sequence of shape (n_stimuli,) or mapping from stimulus id, optional
        Their number, how they are made, or the fold of each stimulus: a name or number. None: 5 below 100 stimuli (or
        groups), 10 from there.
    groups : sequence of shape (n_stimuli,) or mapping from stimulus id, optional
        The group of each stimulus, such as its movie or run: none straddles two folds, and intervals and permutations
        take groups as wholes (unless ``FoldSettings(unit="stimulus")``). Given folds alone leave them stimuli.
    settings : EvaluationSettings

    Returns
    -------
    scores : Dataset
        By ``voxel``: ``score``, Pearson r between out-of-fold predictions and mean responses, averaged over folds
        (`voxelcast.scoring.correlation.cross_validated_r`); ``noise_ceiling_r``, the highest such r that a model can
        reach; ``noise_normalised``, the ratio of the two where the ceiling is clearly above 0
        (`voxelcast.scoring.ceiling.noise_normalised_r`); ``p_value`` and ``q_value`` (false discovery rate) where they
        were tested. By ``stimulus`` and ``voxel``: ``prediction``, out of fold, in the unit of the responses. Voxels
        that cannot be analysed are NaN. ``attrs``: ``score`` (mean over voxels) with ``score_low`` and ``score_high``,
        the interval at ``level``, or ``no_interval``, why there is none; ``noise_ceiling_r``, the mean over voxels, and
        ``noise_normalised``, ``score`` over it, 1 for a perfect model; ``selection_score``, which chose and is too good
        an estimate; the chosen ``network``, ``layer``, ``encoder`` and ``hyperparameters``; ``n_significant_voxels``;
        ``exchanged``, what permutations exchanged and intervals resampled; ``warnings``, those of exchange below, a
        line each.

    Raises
    ------
    AlignmentError
        If responses have a stimulus without features, or, without ids, the numbers of rows differ.
    ShapeError, DataError
        For arrays of another shape, features that are not finite, too few stimuli, or no voxel that varies.
    OptionError, UnknownNameError
        For a setting or encoder that is not there.

    Warns
    -----
    VoxelcastWarning
        If some voxels are constant or have no response to some stimulus, or drift over repetitions; a fold has fewer
        than 8 stimuli; stimuli in different folds depend on each other
        (`voxelcast.scoring.exchangeability.dependence_warnings`); or no voxel can be significant, as too few groups can
        change places.

    References
    ----------
    Varma, S. & Simon, R. Bias in error estimation when using cross-validation for model selection. BMC Bioinformatics
    7, 91 (2006). doi:10.1186/1471-2105-7-91

    Examples
    --------
    >>> import numpy as np
    >>> import voxelcast as vc
    >>> rng = np.random.default_rng(0)
    >>> features = rng.standard_normal((60, 20))
    >>> responses = features @ rng.standard_normal((20, 4)) + rng.standard_normal((60, 4))
    >>> scores = vc.evaluate(features, responses, folds=5)
    >>> scores["score"].shape, scores.attrs["score"] > 0.8
    ((4,), True)
    """
    rows = response_rows(responses)
    mean = mean_responses(rows)
    valid = valid_voxels(mean)
    chosen = (encoders,) if isinstance(encoders, str) else tuple(encoders)
    check_exact(chosen, settings.search.method)
    named_groups = group_names(groups, rows)
    partitions = choose_partitions(folds, rows, settings.seed, named_groups)
    units = exchanged_groups(folds, named_groups)
    if few := few_stimuli(partitions[0]):
        warnings.warn(few, VoxelcastWarning, stacklevel=2)
    spaces, names = feature_spaces(features), tuple(str(rows.scalar(name)) for name in ("subject", "roi"))
    train = np.ascontiguousarray(mean[:, valid])
    results, said = [], list[str]()
    for number, fold_ids in enumerate(partitions):
        compressed: list[FeatureSpace] = [*compress_spaces(spaces, rows, fold_ids, seed=settings.seed)]
        if not number:
            said = _warnings(train, partitions[0], compressed, rows, units, settings.significance)
        if settings.ensemble.joined:
            compressed.append(join_spaces(compressed, fold_ids))
        repeat = [f"repeat {number}"] if number else []
        found = search_pair(
            train,
            compressed,
            [get_encoder(name, derive_seed(settings.seed, *names), settings.automl) for name in chosen],
            fold_ids,
            PairSettings(settings.search, settings.selection, settings.ensemble, True, settings.seed),
            context=PairContext((*names, *repeat), all(space.settings.nested for space in spaces)),
        )
        results.append(found)
    scores = _labelled(rows, valid, results, partitions, units, settings)
    scores.attrs["warnings"] = "\n".join(said)
    return scores


def _warnings(
    train: FloatArray,
    fold_ids: IntArray,
    spaces: Sequence[FeatureSpace],
    rows: Rows,
    groups: Sequence[str] | None,
    asked: SignificanceSettings,
) -> list[str]:
    """Warn where no voxel can be significant, or stimuli of different folds depend on each other."""
    untestable = Exchange(fold_ids, groups).warning(asked.permutations, asked.alpha)
    features = sketch(space.scores() for space in spaces)
    said = [*([untestable] if untestable else []), *dependence_warnings(train, features, fold_ids, rows.ids)]
    for warning in said:
        warnings.warn(warning, VoxelcastWarning, stacklevel=3)
    return said


def _labelled(
    rows: Rows,
    valid: BoolArray,
    results: Sequence[PairResult],
    partitions: Sequence[IntArray],
    groups: Sequence[str] | None,
    settings: EvaluationSettings,
) -> xr.Dataset:
    result = results[0] if len(results) == 1 else combine_repeats(results)
    assert result.voxel_scores is not None  # cross-validation is nested
    train = np.ascontiguousarray(mean_responses(rows)[:, valid])
    nested, scored = score_nested(settings.scorer, train, results, partitions, groups, gains=False)
    tested, counted = settings.scorer.test_voxels(nested, valid)
    score = spread(result.voxel_scores, valid)
    found, drift = ceilings(rows.values)
    if drift:
        warnings.warn(drift, VoxelcastWarning, stacklevel=3)
    reliability = found["reliability"], found["reliability_se"]
    normalised = noise_normalised_r(score, *reliability)
    voxels = {"score": score, "noise_ceiling_r": found["noise_ceiling_r"], "noise_normalised": normalised, **tested}
    chosen = heaviest_candidate(result.shares, result.chosen)
    attrs = {
        **{name: np.nan if value is None else value for name, value in (scored | counted).items()},
        **dict(zip(("noise_ceiling_r", "noise_normalised"), normalised_mean(score, *reliability), strict=True)),
        "level": settings.interval.level,
        "selection_score": result.selection_score,
        "network": chosen.network,
        "layer": chosen.layer,
        "encoder": chosen.encoder,
        "hyperparameters": shown_params(chosen.params),
        "n_models": len(result.shares),
        "n_voxels": int(valid.sum()),
        "n_excluded_voxels": int((~valid).sum()),
        "n_folds": int(partitions[0].max()) + 1,
        "seed": settings.seed,
        **({"unit": rows.attrs["unit"]} if "unit" in rows.attrs else {}),
    }
    return xr.Dataset(
        {name: ("voxel", values) for name, values in voxels.items()}
        | {"prediction": (("stimulus", "voxel"), spread(nested.predicted, valid))},
        coords=rows.coords if rows.ids is None else {**rows.coords, "stimulus": list(rows.ids)},
        attrs=attrs,
    )


def valid_voxels(mean: FloatArray) -> BoolArray:
    """Find the voxels that can be analysed, and warn of the others."""
    reasons, valid = invalid_voxels(mean)
    if reasons:
        voxel, reason = next(iter(reasons.items()))
        problem = f"{len(reasons)} of {len(valid)} voxels cannot be analysed (voxel {voxel}: {reason})"
        if not valid.any():
            raise DataError(f"{problem}; every voxel needs varying, finite responses")
        warnings.warn(f"{problem}; their scores are NaN", VoxelcastWarning, stacklevel=3)
    return valid


def exchanged_groups(folds: Any, groups: Sequence[str] | None) -> Sequence[str] | None:
    """Return the groups that are exchanged and resampled whole; None where each stimulus is by itself."""
    return None if isinstance(folds, FoldSettings) and folds.unit == "stimulus" else groups


def choose_partitions(folds: Any, rows: Rows, seed: int, groups: Sequence[str] | None) -> list[IntArray]:
    """Make each partition into folds, as an experiment does."""
    n = len(rows.values)
    if folds is None:
        folds = FoldSettings()
    if isinstance(folds, int | np.integer) and not isinstance(folds, bool):
        folds = FoldSettings(n=int(folds))
    if isinstance(folds, FoldSettings):
        if not folds.nested:
            raise OptionError("folds.nested must be true: scores are those of nested cross-validation")
        return [choose_folds(folds, n, seed, groups, repeat) for repeat in range(folds.repeats)]
    return [given_folds(labels_of_rows("folds", folds, rows), groups, fewest=3)]


def group_names(given: Sequence[Any] | Mapping[str, Any] | None, rows: Rows) -> tuple[str, ...] | None:
    """Return the group of each row."""
    return None if given is None else tuple(map(str, labels_of_rows("groups", given, rows)))


def labels_of_rows(what: str, given: Sequence[Any] | Mapping[str, Any], rows: Rows) -> Sequence[Any]:
    """Return the label of each row, given in their order or by stimulus id."""
    if isinstance(given, Mapping):
        ids = rows.ids or ()
        check_same_stimuli(what, [name for name in ids if name in given], "responses", ids)
        return [given[name] for name in ids]
    check_shape(what, np.asarray(given), ("n_stimuli",), (len(rows.values),))
    return given
