from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import Ridge

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError, ShapeError
from voxelcast.encoders.registry import get_encoder
from voxelcast.scoring.correlation import cross_validated_r
from voxelcast.search.base import GivenFeatures, PairContext, PairResult
from voxelcast.search.experts import checked_atlas
from voxelcast.search.folds import make_folds
from voxelcast.search.pair import search_pair
from voxelcast.search.settings import EnsembleSettings, PairSettings, SelectionSettings

N_FOLDS = 5


def _areas(
    seed: int, signal: float, n: int = 120, n_areas: int = 3
) -> tuple[list[GivenFeatures], dict[str, FloatArray], FloatArray]:
    """Areas that each see one layer in three directions: a clean ROI of each, and noisy voxels of all."""
    rng = np.random.default_rng(seed)
    spaces, rois, whole = [], {}, []
    for area in range(n_areas):
        X = rng.standard_normal((n, 12))
        spaces.append(GivenFeatures("net", f"layer{area}", X))
        seen = X @ rng.standard_normal((12, 3))
        for n_voxels, noise in ((15, 1.0), (12, 2.0)):
            clean = seen @ rng.standard_normal((3, n_voxels)) / np.sqrt(3 * 12)
            noisy = signal * clean + noise * rng.standard_normal((n, n_voxels))
            if n_voxels == 15:
                rois[f"R{area}"] = noisy
            else:
                whole.append(noisy)
    return spaces, rois, np.hstack(whole)


def _fit(
    Y: FloatArray, spaces: list[GivenFeatures], ensemble: EnsembleSettings, per: str = "roi", **context: object
) -> PairResult:
    settings = PairSettings(selection=SelectionSettings(per=per), ensemble=ensemble)  # type: ignore[arg-type]
    folds = make_folds(len(Y), N_FOLDS, 0)
    known = PairContext(("s", "WB"), **context)  # type: ignore[arg-type]
    return search_pair(Y, spaces, [get_encoder("ridge")], folds, settings, context=known)


def _score(Y: FloatArray, predictions: FloatArray | None) -> float:
    assert predictions is not None
    return float(np.nanmean(cross_validated_r(Y, predictions, make_folds(len(Y), N_FOLDS, 0))))


@pytest.mark.parametrize("seed", range(3))
def test_experts_beat_the_plain_model_where_areas_differ(seed: int) -> None:
    spaces, rois, Y = _areas(seed, 1.0)
    found = _fit(Y, spaces, EnsembleSettings(method="experts", experts=tuple(rois)), experts=rois)
    assert _score(Y, found.out_of_fold) > _score(Y, found.single_out_of_fold) + 0.05
    named = {share.candidate.encoder: share.candidate.layer for share in found.shares}
    assert {named[f"ridge of R{k}"] for k in range(3)} == {"layer0", "layer1", "layer2"}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["experts", "atlases"])
def test_on_noise_they_do_not(method: str) -> None:
    gains = []
    for seed in range(30):
        spaces, rois, Y = _areas(seed, 0.0)
        if method == "experts":
            found = _fit(Y, spaces, EnsembleSettings(method="experts", experts=tuple(rois)), experts=rois)
        else:
            found = _fit(Y, spaces, EnsembleSettings(method="atlases", atlases=(2, 4)), per="voxel")
        gains.append(_score(Y, found.out_of_fold) - _score(Y, found.single_out_of_fold))
    assert abs(np.mean(gains)) < 3 * np.std(gains) / np.sqrt(len(gains)) + 0.003
    assert np.mean(gains) < 0.01


def test_the_outer_fold_is_recomputed_by_hand() -> None:
    """Everything that predicts fold 0, by scikit-learn and SciPy from the stimuli outside it."""
    spaces, rois, Y = _areas(0, 1.0, n_areas=2)
    found = _fit(Y, spaces, EnsembleSettings(method="experts", experts=tuple(rois), sum_to_one=False), experts=rois)
    folds = make_folds(len(Y), N_FOLDS, 0)
    inner = [k for k in range(N_FOLDS) if k != 0]
    assert found.out_of_fold is not None

    def choice(responses: FloatArray, name: str) -> tuple[FloatArray, float]:
        """What the search chose outside fold 0 (that it chooses right is tested elsewhere)."""
        plain = search_pair(
            responses, spaces, [get_encoder("ridge")], folds, PairSettings(), context=PairContext(("s", name))
        )
        chosen = plain.nested_choices[0]
        X = next(space.features for space in spaces if space.layer == chosen.layer)
        return X, float(str(chosen.params["relative_alpha"]))

    def predicted(X: FloatArray, relative: float, responses: FloatArray, left_out: list[int], fold: int) -> FloatArray:
        kept = ~np.isin(folds, left_out)
        alpha = relative * np.square(X[kept] - X[kept].mean(axis=0)).sum() / X.shape[1]
        return np.asarray(Ridge(alpha=alpha).fit(X[kept], responses[kept]).predict(X[folds == fold]))

    chosen = {name: choice(R, name) for name, R in {**rois, "WB": Y}.items()}
    F = {name: np.zeros(R.shape) for name, R in rois.items()}
    for name, R in rois.items():
        for fold in inner:
            F[name][folds == fold] = predicted(*chosen[name], R, [0, fold], fold)
        F[name][folds == 0] = predicted(*chosen[name], R, [0], 0)

    def read(name: str, v: int, left_out: list[int], fold: int) -> FloatArray:
        """One PLS component from the expert's predictions to the voxel."""
        kept = ~np.isin(folds, left_out)
        model = PLSRegression(n_components=1, scale=False).fit(F[name][kept], Y[kept, v])
        return np.asarray(model.predict(F[name][folds == fold])).ravel()

    for v in (0, 7, 20):
        rows, targets = [], []
        for fold in inner:
            parts = [predicted(*chosen["WB"], Y, [0, fold], fold)[:, v], *(read(n, v, [0, fold], fold) for n in rois)]
            rows.append(np.stack([part - part.mean() for part in parts], axis=1))
            targets.append(Y[folds == fold, v] - Y[folds == fold, v].mean())
        weights = nnls(np.vstack(rows), np.concatenate(targets))[0]
        last = [predicted(*chosen["WB"], Y, [0], 0)[:, v], *(read(n, v, [0], 0) for n in rois)]
        expected = (1 - weights.sum()) * Y[folds != 0, v].mean() + np.stack(last, axis=1) @ weights
        assert np.allclose(found.out_of_fold[folds == 0, v], expected, atol=1e-6)


def test_saved_models_give_the_predictions() -> None:
    spaces, rois, Y = _areas(1, 1.0)
    n_train = 90
    shown = {name: R[:n_train] for name, R in rois.items()}
    folds = make_folds(n_train, N_FOLDS, 0)
    settings = PairSettings(ensemble=EnsembleSettings(method="experts", experts=tuple(rois)))
    found = search_pair(
        Y[:n_train], spaces, [get_encoder("ridge")], folds, settings, context=PairContext(("s", "WB"), experts=shown)
    )
    total = (1 - sum(part.weights for part in found.parts)) * Y[:n_train].mean(axis=0)
    for part in found.parts:
        X = next(space.features for space in spaces if space.layer == part.layer)
        total = total + part.weights * part.model.predict(X[n_train:])
    assert np.allclose(found.predictions, total)
    held_out = [np.corrcoef(Y[n_train:, v], found.predictions[:, v])[0, 1] for v in range(Y.shape[1])]
    assert np.mean(held_out) > 0.2


def test_an_atlas_gives_each_cluster_its_layer() -> None:
    spaces, _, Y = _areas(2, 2.0)
    areas = np.repeat([0, 1, 2], 12)
    ensemble = EnsembleSettings(method="atlases", atlases=("anatomy.npy",))
    found = _fit(Y, spaces, ensemble, per="voxel", atlases=[areas])
    assert np.array_equal(found.layer_weights, np.eye(3)[:, areas])
    two = EnsembleSettings(method="atlases", atlases=("anatomy.npy", "whole.npy"))
    halved = _fit(Y, spaces, two, per="voxel", atlases=[areas, np.zeros(36, dtype=int)])
    best = int(halved.layer_weights.mean(axis=1).argmax())
    whole = np.zeros((3, 36))
    whole[best] = 1.0
    assert np.allclose(halved.layer_weights, (np.eye(3)[:, areas] + whole) / 2)


def test_clusters_of_coefficients_beat_one_layer_for_all() -> None:
    spaces, _, Y = _areas(3, 2.0)
    found = _fit(Y, spaces, EnsembleSettings(method="atlases", atlases=(3, 6)), per="voxel")
    assert np.allclose(found.layer_weights.sum(axis=0), 1.0)
    assert _score(Y, found.out_of_fold) > _score(Y, found.single_out_of_fold) + 0.02


def test_wrong_use() -> None:
    spaces, rois, Y = _areas(0, 1.0)
    with pytest.raises(OptionError, match="method experts and experts go together"):
        EnsembleSettings(method="experts")
    with pytest.raises(OptionError, match="method atlases and atlases go together"):
        EnsembleSettings(atlases=(3,))
    with pytest.raises(OptionError, match=r"atlases needs selection\.per voxel"):
        PairSettings(ensemble=EnsembleSettings(method="atlases", atlases=(3,)))
    with pytest.raises(OptionError, match="needs the responses of other ROIs"):
        _fit(Y, spaces, EnsembleSettings(method="experts", experts=tuple(rois)))
    with pytest.raises(ShapeError, match=r"atlas of sub01_WB .*36"):
        checked_atlas(np.zeros(35, dtype=int), 36, "sub01_WB")
