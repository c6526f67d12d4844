"""The algebra on torch tensors gives the choices and scores of NumPy's: of a CPU's tensors, as a GPU is not there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.search.spaces import LINEAR, Fixed, Refitted, search, simulated
from voxelcast.core.arrays import FloatArray, put, to_numpy
from voxelcast.core.errors import OptionError
from voxelcast.core.settings import content
from voxelcast.encoders.kernel_ridge import KernelRidge
from voxelcast.encoders.moments import moments
from voxelcast.encoders.pls import pls_path
from voxelcast.encoders.registry import ENCODERS, get_encoder, list_encoders
from voxelcast.encoders.ridge import Ridge
from voxelcast.scoring.permutation import Exchange, permutation_p_values
from voxelcast.search.base import PairResult
from voxelcast.search.folds import make_folds
from voxelcast.search.settings import EnsembleSettings, PairSettings, SearchSettings, SelectionSettings
from voxelcast.search.sharing import Sharing
from voxelcast.search.stacked import Stack
from voxelcast.store.keys import content_key

_TENSORS = "cpu:0"
KERNEL = [name for name in list_encoders() if issubclass(ENCODERS.get(name), KernelRidge)]


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy does not take a GPU's tensors: have it refuse a CPU's, too."""

    def refused(*_given: object, **_options: object) -> None:
        raise TypeError("NumPy was given a tensor")

    monkeypatch.setattr(torch.Tensor, "__array__", refused)


def _same(one: PairResult, other: PairResult) -> None:
    assert [(c.layer, c.encoder, c.params.keys()) for c in one.candidates] == [
        (c.layer, c.encoder, c.params.keys()) for c in other.candidates
    ]
    for a, b in zip(one.candidates, other.candidates, strict=True):
        np.testing.assert_allclose(a.fold_scores, b.fold_scores, rtol=0, atol=1e-9)
    assert (one.chosen.layer, one.chosen.encoder) == (other.chosen.layer, other.chosen.encoder)
    assert one.chosen.params == pytest.approx(other.chosen.params, rel=1e-6)
    assert [(rule.rule, rule.claimed) for rule in one.rules] == [
        (rule.rule, pytest.approx(rule.claimed)) for rule in other.rules
    ]
    for name in ("predictions", "out_of_fold", "voxel_scores", "layer_weights", "inner"):
        if getattr(one, name) is None:  # not nested
            assert getattr(other, name) is None
        else:
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-8, atol=1e-7)


@pytest.mark.parametrize("name", [*LINEAR, *KERNEL])
@pytest.mark.parametrize("metric", ["pearson_r", "pooled_2021"])
def test_every_encoder_of_closed_form(name: str, metric: str) -> None:
    n = 36 if name in KERNEL else 60
    (X,), Y = simulated(n, 5, 6, 7)
    Y[:, 3] = 2.0  # a constant voxel
    found = [
        search(Y, [Fixed(X)], [get_encoder(name)], make_folds(n, 4), metric=metric, device=device)
        for device in ("cpu", _TENSORS)
    ]
    assert isinstance(found[1].predictions, np.ndarray)
    _same(*found)


@pytest.mark.parametrize(
    "kind", ["refitted", "voxels", "stacking", "free", "per_roi", "mean", "kernels", "sharing", "banded_ridge"]
)
def test_every_way_to_choose(kind: str) -> None:
    Xs, Y = simulated(48, 5, 8, 6, layers=2)
    folds = make_folds(48, 4)
    spaces = [Refitted(X, folds, 6, str(k)) if kind == "refitted" else Fixed(X, str(k)) for k, X in enumerate(Xs)]
    options: dict[str, object] = {
        "voxels": {"selection": SelectionSettings("voxel")},
        "kernels": {"selection": SelectionSettings("voxel"), "ensemble": EnsembleSettings("stacking")},
        "stacking": {"ensemble": EnsembleSettings("stacking", compare=True)},
        "free": {"ensemble": EnsembleSettings("stacking", sum_to_one=False)},
        "per_roi": {"ensemble": EnsembleSettings("stacking", per="roi")},
        "mean": {"ensemble": EnsembleSettings("mean")},
        "banded_ridge": {"ensemble": EnsembleSettings("banded_ridge", draws=3)},
        "sharing": {"sharing": Sharing(3, [Y[:, ::-1] + Xs[0][:48, :6]])},
    }.get(kind, {})
    # One of the three works on ndarrays alone.
    names = ["kernel_ridge_linear", "omp", "ridge"] if kind == "kernels" else ["pls", "ridge"]
    encoders = [get_encoder(name) for name in names]
    _same(*(search(Y, spaces, encoders, folds, device=device, **options) for device in ("cpu", _TENSORS)))


@pytest.mark.parametrize("device", ["cpu", _TENSORS])
@pytest.mark.parametrize("name", ["ridge", "pls", "kernel_ridge_linear", "pls_canonical", "omp"])
def test_single_precision_is_what_it_says(name: str, device: str) -> None:
    (X,), Y = simulated(60, 5, 6, 7)
    X[:, 0] *= 1000.0
    wanted, found = (
        search(Y, [Fixed(X)], [get_encoder(name)], make_folds(60, 4), precision=precision, device=device)
        for precision in ("float64", "float32")
    )
    assert found.chosen.params.keys() == wanted.chosen.params.keys()
    assert 0 < abs(found.selection_score - wanted.selection_score) < 1e-5
    np.testing.assert_allclose(found.voxel_scores, wanted.voxel_scores, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.predictions, wanted.predictions, rtol=0, atol=1e-4 * np.abs(Y).max())
    assert found.predictions.dtype == found.out_of_fold.dtype == np.float64


def test_single_precision_has_keys_of_its_own() -> None:
    single = PairSettings(SearchSettings(precision="float32"))
    assert content_key(content(single)) != content_key(content(PairSettings()))


def _many_features(p: int, q: int) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2 * p, p)) * np.geomspace(3, 0.3, p)
    return X, X[:, :5] @ rng.standard_normal((5, q)) + rng.standard_normal((2 * p, q))


@pytest.mark.parametrize("q", [40, 400])
@pytest.mark.parametrize("device", ["cpu", _TENSORS])
def test_many_features_are_solved_as_few(q: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leading eigenvectors that are iterated for are those of LAPACK."""
    X, Y = _many_features(300, q)
    stats = moments(X, Y)
    R, Q = pls_path(put(stats.S, device), put(stats.C, device), 40)
    monkeypatch.setattr("voxelcast.encoders.pls._LARGE", 10_000)
    expected_R, expected_Q = pls_path(stats.S, stats.C, 40)
    for k in (1, 9, 40):
        expected = expected_R[:, :k] @ expected_Q[:k]
        found = to_numpy(R[:, :k] @ Q[:k])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_permutations() -> None:
    rng = np.random.default_rng(0)
    P, folds = rng.standard_normal((60, 7)), np.arange(60) % 3
    Y = 0.3 * P + rng.standard_normal((60, 7))
    Y[:, 2], P[folds == 1, 4] = 1.0, 2.0
    expected = permutation_p_values(Y, P, Exchange(folds), 200, 3, widening=1.3)
    found = permutation_p_values(put(Y, _TENSORS), put(P, _TENSORS), Exchange(folds), 200, 3, widening=1.3)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.skipif(torch.cuda.is_available(), reason="it is there")
def test_a_device_that_is_not_there() -> None:
    (X,), Y = simulated(24, 2, 3, 2)
    with pytest.raises(OptionError, match="device 'cuda' is not there"):
        search(Y, [Fixed(X)], [get_encoder("pls")], make_folds(24, 4), device="cuda")


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("metric", ["pearson_r", "pooled_2021"])
def test_stacks_of_layers_are_searched_as_layers_are(
    nested: bool, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers of equal and of other sizes, refitted and not, one of low rank, and folds of unequal size."""
    (X, Z, W), Y = simulated(61, 5, 6, 7, layers=3)
    Z[:, 3:] = 0.0
    encoders = [get_encoder(name) for name in ("pls", "ridge", "ols", "ridge_per_voxel")]
    folds = np.sort(make_folds(61, 5))
    Y[folds != 2, 3] = 2.0  # constant outside of a fold
    spaces = [Fixed(X, "a"), Fixed(Z, "b"), Refitted(W, folds, 4, "c"), Fixed(W, "d")]
    wanted = search(Y, spaces, encoders, folds, metric=metric, nested=nested)
    stacks = []
    real = Stack.trials
    monkeypatch.setattr(Stack, "trials", lambda self, *given: stacks.append(len(self._X)) or real(self, *given))
    found = search(Y, spaces, encoders, folds, metric=metric, nested=nested, device=_TENSORS)
    assert stacks == [2, 2, 2, 1, 1, 1, 1, 1, 1]  # three encoders take stacks
    _same(wanted, found)


def test_stacks_where_few_folds_are_inner() -> None:
    """Penalties are refined although an outer fold's search judges by its two neighbours alone."""
    (X, Z), Y = simulated(72, 5, 6, 7, layers=2)
    spaces, folds = [Fixed(X, "a"), Fixed(Z, "b")], make_folds(72, 6)
    wanted, found = (
        search(Y, spaces, [get_encoder("ridge")], folds, inner=2, device=device) for device in ("cpu", _TENSORS)
    )
    assert len(wanted.candidates) > 2 * len(Ridge.alphas)
    _same(wanted, found)
