"""Fits of what was selected: one encoder on one layer, each voxel with its own setting if it chose for itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.encoders.base import Encoder, FittedEncoder, LinearPath, Params, SolutionPath, VoxelPath
from voxelcast.encoders.sample import FittedModel, SampleEncoder
from voxelcast.search.sample_scores import fit_samples
from voxelcast.search.selection import Member
from voxelcast.search.training import PairData, Training
from voxelcast.search.truncated import truncated


@dataclass(frozen=True)
class PickedModels:
    """Several fitted models, each voxel predicted by one of them.

    Parameters
    ----------
    models : tuple of FittedModel
    pick : ndarray of shape (q,)
        Place in ``models``.
    """

    models: tuple[FittedModel, ...]
    pick: IntArray

    @property
    def setting(self) -> Params:
        """Hyper-parameters of the first."""
        return self.models[0].setting

    def predict(self, X: FloatArray) -> FloatArray:
        """Predict responses, ndarray of shape (n_samples, q)."""
        predictions = np.empty((len(X), len(self.pick)))
        for k, model in enumerate(self.models):
            voxels = self.pick == k
            predictions[:, voxels] = model.predict(X)[:, voxels]
        return predictions

    def arrays(self) -> dict[str, FloatArray]:
        """Return the arrays of all models, named ``<k>_<name>``, and ``pick``."""
        parts = {f"{k}_{name}": array for k, model in enumerate(self.models) for name, array in model.arrays().items()}
        return {**parts, "pick": self.pick.astype(np.float64)}


def training_mean(data: PairData, excluded: Sequence[int]) -> FloatArray:
    """Return the mean responses to the training stimuli outside the folds ``excluded``, ndarray of shape (q,)."""
    left_out: FloatArray = data.fold_sums[list(excluded)].sum(axis=0) / data.size(tuple(excluded))
    return np.asarray(data.y_mean - left_out)


def fit_members(
    members: Sequence[Member], training: Training, data: PairData, excluded: tuple[int, ...]
) -> list[FittedModel]:
    """Fit members of one layer to the training stimuli outside the folds ``excluded``.

    Members of the same encoder (two outer folds' choices, say) share one solution.
    """
    models: list[FittedModel | None] = [None] * len(members)
    groups = [(member.encoder.name, member.n_features) for member in members]
    for group in dict.fromkeys(groups):
        own = [k for k in range(len(members)) if groups[k] == group]
        encoder, source = members[own[0]].encoder, truncated(training, group[1])
        fitted = (
            [_fit_samples(members[k], encoder, source, data, excluded) for k in own]
            if isinstance(encoder, SampleEncoder)
            else _fit_paths([members[k] for k in own], encoder, source, excluded)
        )
        for k, model in zip(own, fitted, strict=True):
            models[k] = model
    return [model for model in models if model is not None]


def _fit_samples(
    member: Member, encoder: SampleEncoder, training: Training, data: PairData, excluded: tuple[int, ...]
) -> FittedModel:
    models = [fit_samples(encoder, training, data, candidate.setting, excluded) for candidate in member.candidates]
    return models[0] if len(models) == 1 else PickedModels(tuple(models), member.pick)


def _fit_paths(
    members: Sequence[Member], encoder: Encoder, training: Training, excluded: tuple[int, ...]
) -> list[FittedModel]:
    settings = [candidate.setting for member in members for candidate in member.candidates]
    distinct = list({tuple(setting.items()): setting for setting in settings}.values())
    stats = training.moments(excluded)
    path = encoder.path(stats, distinct)
    models: list[FittedModel] = []
    for member in members:
        places = np.array([distinct.index(candidate.setting) for candidate in member.candidates])
        coefficients = picked_coefficients(path, places[member.pick])
        intercept = stats.y_mean - stats.x_mean @ coefficients
        models.append(FittedEncoder(member.candidates[0].setting, coefficients, intercept))
    return models


def picked_coefficients(path: SolutionPath, pick: IntArray) -> FloatArray:
    """Return the coefficients of voxels that each take a setting of their own, ndarray of shape (p, q).

    Parameters
    ----------
    path : SolutionPath
    pick : ndarray of shape (q,)
        Each voxel's setting, its place in the path.
    """
    if (pick == pick[0]).all():
        return path.coefficients(int(pick[0]))
    if isinstance(path, LinearPath):
        mixed: FloatArray = path.directions @ (path.filters[pick].T * path.loadings)
        return mixed
    if isinstance(path, VoxelPath):
        B: FloatArray = np.empty(path.shape)
        for voxels, found in path.blocks():
            B[:, voxels] = found[pick[voxels], np.arange(found.shape[1])].T
        return B
    columns = [path.coefficients(k) for k in range(int(pick.max()) + 1)]
    return np.stack([columns[k][:, voxel] for voxel, k in enumerate(pick)], axis=1)
