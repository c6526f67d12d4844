"""Noise ceilings of labelled responses, and the variance that groups of features explain alone and together."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from voxelcast.api import evaluation
from voxelcast.api.feature_space import compress_spaces, feature_spaces
from voxelcast.api.labelled import mean_responses, response_rows
from voxelcast.core.arrays import IntArray
from voxelcast.core.checks import check_option
from voxelcast.core.errors import OptionError, VoxelcastWarning
from voxelcast.experiment.steps.partition import divide_variance, part_name
from voxelcast.experiment.steps.responses import ceilings, spread
from voxelcast.scoring.ceiling import mean_noise_ceiling_r
from voxelcast.scoring.variance_partitioning import preferred
from voxelcast.search.settings import FoldSettings
from voxelcast.search.variance_partitioning import VariancePartitioningSettings


def noise_ceiling(responses: Any, kind: Literal["r", "r2"] = "r") -> xr.DataArray:
    """Estimate the best score that a model can reach, for each voxel, from repeated responses.

    Parameters
    ----------
    responses : array-like, DataArray or ResponseSet of shape (n_stimuli, n_repetitions, n_voxels)
        In any linear unit; NaN marks a missing repetition.
    kind : {"r", "r2"}
        Highest Pearson r with the mean over repetitions (`voxelcast.scoring.ceiling.noise_ceiling_r`); or its square,
        the highest share of the mean's variance that can be explained.

    Returns
    -------
    ceiling : DataArray of shape (voxel,)
        In [0, 1]; NaN with fewer than two repetitions. ``attrs["mean"]``: of ``"r"``, the mean over voxels, free of the
        bias of clipped ceilings (`voxelcast.scoring.ceiling.mean_noise_ceiling_r`).

    Raises
    ------
    OptionError
        For another kind.
    ShapeError
        For responses of another shape.

    Warns
    -----
    VoxelcastWarning
        Where responses drift over repetitions, so that ceilings depend on how these are split.

    Examples
    --------
    >>> import numpy as np
    >>> import voxelcast as vc
    >>> rng = np.random.default_rng(0)
    >>> signal = rng.standard_normal((50, 1, 3))
    >>> vc.noise_ceiling(signal + rng.standard_normal((50, 4, 3))).dims
    ('voxel',)
    """
    check_option("kind", kind, ("r", "r2"))
    rows = response_rows(responses)
    name = f"noise_ceiling_{kind}"
    found, drift = ceilings(rows.values)
    if drift:
        warnings.warn(drift, VoxelcastWarning, stacklevel=2)
    mean = {"mean": mean_noise_ceiling_r(found["reliability"], found["reliability_se"])} if kind == "r" else {}
    return xr.DataArray(found[name], dims=("voxel",), coords=rows.coords, name=name, attrs=mean)


def variance_partitioning(
    groups: Mapping[str, Any],
    responses: Any,
    *,
    folds: int | FoldSettings | Sequence[int] | IntArray | None = None,
    stimulus_groups: Sequence[Any] | Mapping[str, Any] | None = None,
    draws: int = 10,
    settings: evaluation.EvaluationSettings = evaluation.DEFAULTS,
) -> xr.Dataset:
    """Divide the variance that groups of features explain into what each explains alone and what they share.

    A ridge regression on every combination of groups predicts each fold from the others; differences of their R^2 are
    the unique and shared parts [1]_. The numbers are those of an experiment with the same settings.

    Parameters
    ----------
    groups : mapping from name to features
        Two to four groups, each a feature space or several, as `voxelcast.evaluate` takes them.
    responses : array-like, DataFrame, DataArray or ResponseSet
        Of shape (n_stimuli, n_voxels) or (n_stimuli, n_repetitions, n_voxels), in any linear unit.
    folds : int, FoldSettings or ndarray of shape (n_stimuli,), optional
    stimulus_groups : sequence of shape (n_stimuli,) or mapping from stimulus id, optional
        None of which straddles two folds, such as movies.
    draws : int
        How many weights of a model's groups are drawn for voxels to choose from; 0: equal ones.
    settings : EvaluationSettings
        Of which the interval and the seed count.

    Returns
    -------
    parts : Dataset
        By ``part`` and ``voxel``: ``r2``, the share of the variance of mean responses, with the ends ``low`` and
        ``high`` of its interval over stimuli; by ``part``: ``mean``, ``mean_low`` and ``mean_high`` over voxels, and
        the coordinates ``kind`` and ``groups`` (joined by ``+``). A ``part`` is named ``"<kind> <groups>"``. Kinds are
        ``"model"``, ``"unique"``, ``"shared"``, ``"lead"`` (R^2 of the model on a group alone minus that of the best
        other group), and ``"lesion"``, whose ``r2`` is no R^2 but the fall of r where the group is taken from the model
        on all. All but models can be negative. By ``voxel``: ``preferred``, the group whose lead's interval lies above
        0; empty where that is undecided. Voxels that cannot be analysed are NaN.

    Raises
    ------
    OptionError
        For fewer than two or more than four groups, or a name with ``+``.
    AlignmentError, ShapeError, DataError
        As of `voxelcast.evaluate`.

    References
    ----------
    .. [1] Borcard, D., Legendre, P. & Drapeau, P. Partialling out the spatial component of ecological variation.
       Ecology 73, 1045-1055 (1992). doi:10.2307/1940179

    Examples
    --------
    >>> import numpy as np
    >>> import voxelcast as vc
    >>> rng = np.random.default_rng(0)
    >>> colour, edges = rng.standard_normal((2, 60, 5))
    >>> responses = colour @ rng.standard_normal((5, 3)) + rng.standard_normal((60, 3))
    >>> parts = vc.variance_partitioning({"colour": colour, "edges": edges}, responses, folds=4, draws=0)
    >>> float(parts["mean"].sel(part="unique colour")) > float(parts["mean"].sel(part="unique edges"))
    True
    """
    VariancePartitioningSettings(groups={name: name for name in groups}, draws=draws)
    if len(groups) < 2:
        raise OptionError(f"groups must be two at least; got {len(groups)}; add one")
    rows = response_rows(responses)
    mean = mean_responses(rows)
    valid = evaluation.valid_voxels(mean)
    Y = np.ascontiguousarray(mean[:, valid])
    named, seed = evaluation.group_names(stimulus_groups, rows), settings.seed
    partitions = (
        (
            {
                name: compress_spaces(feature_spaces(features), rows, fold_ids, nested=False, seed=seed)
                for name, features in groups.items()
            },
            fold_ids,
        )
        for fold_ids in evaluation.choose_partitions(folds, rows, seed, named)
    )
    parts = divide_variance(Y, partitions, draws, settings.interval, seed, evaluation.exchanged_groups(folds, named))
    sets = [part_name(part, groups) for part in parts]
    by_voxel = {
        name: spread(np.array([getattr(part, name) for part in parts]), valid) for name in ("r2", "low", "high")
    }
    numbers = np.nan_to_num(spread(preferred(parts, list(groups)), valid)).astype(int)
    return xr.Dataset(
        {"preferred": ("voxel", np.array(["", *groups])[numbers])}
        | {name: (("part", "voxel"), values) for name, values in by_voxel.items()}
        | {name: ("part", [getattr(part, name) for part in parts]) for name in ("mean", "mean_low", "mean_high")},
        coords={
            **rows.coords,
            "part": [f"{part.kind} {shown}" for part, shown in zip(parts, sets, strict=True)],
            "kind": ("part", [part.kind for part in parts]),
            "groups": ("part", sets),
        },
        attrs={"level": settings.interval.level, "seed": seed},
    )
