"""Targets shared across subjects: what the components are, that they help, and that no left-out fold has a part."""

from __future__ import annotations

import numpy as np
import pytest

from tests.search.spaces import search
from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import OptionError
from voxelcast.encoders.registry import get_encoder
from voxelcast.search.base import PairResult
from voxelcast.search.folds import make_folds
from voxelcast.search.settings import EnsembleSettings, SelectionSettings
from voxelcast.search.sharing import Sharing, shared_components

from .spaces import Fixed

N, P, K = 60, 12, 2
FOLDS = make_folds(N, 4, 0)


def _subjects(
    seed: int, noise: float = 6.0, voxels: tuple[int, ...] = (4, 40, 40)
) -> tuple[FloatArray, list[FloatArray]]:
    """Features, and responses of several subjects that follow the same two directions of them."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N + 5, P))
    latent = X[:N] @ rng.standard_normal((P, K))
    return X, [latent @ rng.standard_normal((K, q)) + noise * rng.standard_normal((N, q)) + 3 for q in voxels]


def _search(
    X: FloatArray, Y: FloatArray, sharing: Sharing | None, encoder: str = "ridge", folds: IntArray = FOLDS
) -> PairResult:
    return search(Y, [Fixed(X)], [get_encoder(encoder)], folds, sharing=sharing)


def test_components_are_those_of_the_standardised_responses() -> None:
    _, Ys = _subjects(0)
    Z = np.hstack([(Y - Y.mean(axis=0)) / Y.std(axis=0) for Y in [*Ys, np.full((N, 1), 7.0)][:3]])
    expected = np.linalg.svd(Z, full_matrices=False)[0][:, :3]
    found = shared_components([*Ys, np.full((N, 1), 7.0)], 3)
    np.testing.assert_allclose(np.abs(expected.T @ found), np.eye(3), atol=1e-8)
    np.testing.assert_allclose(found.mean(axis=0), 0.0, atol=1e-12)


def test_fitting_projected_responses_is_predicting_components_and_projecting_back() -> None:
    X, (Y, *others) = _subjects(1)
    result = _search(X, Y, Sharing(K, others))
    assert result.out_of_fold is not None
    encoder = get_encoder("ridge")
    for fold, choice in enumerate(result.nested_choices):
        kept = fold != FOLDS
        U = shared_components([Y[kept], *(other[kept] for other in others)], K)
        components = encoder.fit(X[:N][kept], U, choice.params).predict(X[:N][~kept])
        expected = components @ (U.T @ Y[kept]) + Y[kept].mean(axis=0)
        np.testing.assert_allclose(result.out_of_fold[~kept], expected, atol=1e-8)


def test_all_components_of_a_subject_alone_change_nothing() -> None:
    X, (Y, *_) = _subjects(2, voxels=(4,))
    np.testing.assert_allclose(_search(X, Y, Sharing(4, [])).out_of_fold, _search(X, Y, None).out_of_fold, atol=1e-8)


@pytest.mark.parametrize("encoder", ["ridge", "kernel_ridge_linear"])
def test_sharing_helps_a_subject_with_few_noisy_voxels(encoder: str) -> None:
    gains = []
    for seed in range(4):
        X, (Y, *others) = _subjects(seed)
        alone, shared = (_search(X, Y, s, encoder).voxel_scores for s in (None, Sharing(K, others)))
        assert alone is not None
        assert shared is not None
        gains.append(np.nan_to_num(shared).mean() - np.nan_to_num(alone).mean())
    assert np.mean(gains) > 0.03


@pytest.mark.parametrize("ensemble", [EnsembleSettings(), EnsembleSettings("stacking")])
def test_responses_of_a_fold_have_no_part_in_its_predictions(ensemble: EnsembleSettings) -> None:
    X, Ys = _subjects(5)
    left_out = FOLDS == 1
    rng = np.random.default_rng(0)
    changed = [Y.copy() for Y in Ys]
    for Y in changed:
        Y[left_out] = 50 * rng.standard_normal(Y[left_out].shape)
    before, after = (
        search(
            own[0],
            [Fixed(X, "one"), Fixed(X**2, "two")],
            [get_encoder("ridge")],
            FOLDS,
            selection=SelectionSettings("voxel"),
            ensemble=ensemble,
            sharing=Sharing(K, own[1:]),
        ).out_of_fold
        for own in (Ys, changed)
    )
    assert before is not None
    assert after is not None
    np.testing.assert_allclose(after[left_out], before[left_out], atol=1e-8)
    assert not np.allclose(after[FOLDS == 0], before[FOLDS == 0], atol=1e-2)


def test_impossible_sharing_is_refused() -> None:
    X, (Y, *others) = _subjects(6)
    with pytest.raises(OptionError, match=r"share\.components must be 1 to 2"):
        shared_components([Y[:, :2]], 3)
    with pytest.raises(OptionError, match="got banded_ridge"):
        search(
            Y,
            [Fixed(X)],
            [get_encoder("ridge")],
            FOLDS,
            ensemble=EnsembleSettings("banded_ridge"),
            sharing=Sharing(1, others),
        )
