"""``--as-in-2021`` scores as that code did: a plain loop of scikit-learn over the same features and responses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.cross_decomposition import PLSCanonical, PLSRegression
from sklearn.linear_model import LinearRegression, OrthogonalMatchingPursuit
from sklearn.model_selection import RepeatedKFold
from sklearn.preprocessing import StandardScaler

from tests.import_2021.test_convert import write_train
from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.registry import get_encoder
from voxelcast.experiment.settings_file import parse_config
from voxelcast.features.compress import compress_folds
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.import_2021.convert import import_2021
from voxelcast.search.base import GivenFeatures
from voxelcast.search.folds import choose_folds
from voxelcast.search.pair import search_pair

N_TRAIN, N_TEST, COMPONENTS = 150, 20, 12
REFERENCES = {
    "partial_ls": lambda k: PLSRegression(n_components=k),
    "pls_canonical": lambda k: PLSCanonical(n_components=k),
    "omp": lambda k: OrthogonalMatchingPursuit(n_nonzero_coefs=k),
    "linear_regression": lambda k: LinearRegression(),
}


def _data() -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(3)
    latent = rng.standard_normal((N_TRAIN + N_TEST, 30)) * np.geomspace(5, 0.1, 30)
    activations = latent @ rng.standard_normal((30, 400)) + 0.3 * rng.standard_normal((len(latent), 400)) + 2
    Y = latent[:N_TRAIN] @ rng.standard_normal((30, 25)) + 5 * rng.standard_normal((N_TRAIN, 25))
    return activations, Y * np.geomspace(0.2, 4, 25) + rng.standard_normal(25)


def _correlation(Y: FloatArray, P: FloatArray) -> float:
    y, p = Y.ravel() - Y.mean(), P.ravel() - P.mean()
    return float((y @ p) / (y.size - 1) / ((y.std() + 1e-8) * (p.std() + 1e-8)))


@pytest.mark.parametrize("encoder", REFERENCES)
def test_scores_and_predictions_are_those_of_the_plain_loop(encoder: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"dim_reduction": f"pca_{COMPONENTS}"}
    path = write_train(tmp_path / "a.json", changes, net_config={"encoding_model": encoder})
    config = parse_config(yaml.safe_load(import_2021(path, as_in_2021=True).experiment), "imported")
    activations, Y = _data()
    rows = np.arange(N_TRAIN)
    (compressed,) = compress_folds(FeatureMatrix([activations]), [rows], config.compress)
    fold_ids = choose_folds(config.folds, N_TRAIN, config.seed)
    result = search_pair(
        Y,
        [GivenFeatures("network", "layer", compressed.scores)],
        [get_encoder(name) for name in config.encoders],
        fold_ids,
        config.pair_settings,
    )
    # The 2021 way, with the singular value decomposition of centred and scaled activations in place of its random PCA.
    scaled = StandardScaler().fit_transform(activations[:N_TRAIN])
    _, _, axes = np.linalg.svd(scaled, full_matrices=False)
    X = StandardScaler().fit_transform(scaled @ axes[:COMPONENTS].T)
    X_test = StandardScaler().fit_transform(StandardScaler().fit_transform(activations[N_TRAIN:]) @ axes[:COMPONENTS].T)
    folds = list(RepeatedKFold(n_splits=10, n_repeats=1, random_state=1).split(X))
    scores = {}
    for candidate in result.candidates:
        k = int(next(iter(candidate.params.values()), 0))
        fitted = [(REFERENCES[encoder](k).fit(X[train], Y[train]), held_out) for train, held_out in folds]
        scores[k] = np.mean([_correlation(Y[held_out], model.predict(X[held_out])) for model, held_out in fitted])
        assert candidate.score == pytest.approx(scores[k], abs=1e-6)
    assert result.selection_score == pytest.approx(max(scores.values()), abs=1e-6)
    best = REFERENCES[encoder](max(scores, key=lambda k: scores[k])).fit(X, Y)
    np.testing.assert_allclose(result.predictions, best.predict(X_test), atol=1e-9)
