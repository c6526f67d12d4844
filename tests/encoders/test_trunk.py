"""Trunks: the closed form, kernels over time, heads, and what is known of planted data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.encoders.learned import trunk_training
from voxelcast.encoders.learned.trunk import Streams, Trunk, rebuild, train_trunk
from voxelcast.encoders.learned.trunk_settings import TrunkSettings
from voxelcast.encoders.registry import get_encoder
from voxelcast.scoring.correlation import voxel_scores

RNG = np.random.default_rng(0)
SMALL = TrunkSettings("temporal", width=6, kernel=5, window=16, windows=64, epochs=4, learning_rate=1e-2)


def _subjects(n: int = 100, n_test: int = 400, *, n_subjects: int = 10, seed: int = 0) -> tuple[FloatArray, Any, Any]:
    """Simulate subjects whose 30 voxels mix six shared directions of 40 features; features, noisy and true responses.

    Features have other variances than what they do, so that responses alone tell which directions matter.
    """
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n + n_test, 40)) * np.linspace(2, 0.3, 40)
    shared = X @ rng.standard_normal((40, 6))
    signals = [shared @ rng.standard_normal((6, 30)) for _ in range(n_subjects)]
    signals = [signal / signal[:n].std(axis=0) for signal in signals]
    return X, [signal[:n] + 2 * rng.standard_normal((n, 30)) for signal in signals], signals


def _series(*lengths: int) -> np.ndarray:
    return np.array([(run, at) for run, length in enumerate(lengths) for at in range(length)])


def _held_out(outputs: FloatArray, Y: FloatArray, truth: FloatArray, n: int) -> float:
    """Fit a head to the first n stimuli and return the mean r of the others."""
    model = get_encoder("ridge_per_voxel").fit(outputs[:n], Y, {})
    return float(voxel_scores(truth[n:], model.predict(outputs[n:]), "pearson_r").mean())


def test_the_linear_trunk_is_the_ridge_of_least_gcv() -> None:
    X, Ys, _ = _subjects(60, 10, n_subjects=2)
    trunk = train_trunk(Streams((X,)), np.arange(60), Ys, TrunkSettings("linear", width=60))
    Y = np.concatenate(Ys, axis=1)
    Z = (Y - Y.mean(axis=0)) / Y.std(axis=0)
    Xc = X[:60] - X[:60].mean(axis=0)
    mean_value = np.square(np.linalg.svd(Xc, compute_uv=False)).mean()

    def gcv(penalty: float) -> float:
        hat = Xc @ np.linalg.solve(Xc.T @ Xc + penalty * np.eye(40), Xc.T) + 1 / 60
        return float(np.square(Z - hat @ Z).sum() / (60 - np.trace(hat)) ** 2)

    best = min(np.geomspace(1e-6, 1e6, 49) * mean_value, key=gcv)
    expected = Ridge(alpha=best).fit(X[:60], Z).predict(X) * Y.std(axis=0) + Y.mean(axis=0)
    np.testing.assert_allclose(trunk.predict(Streams((X,))), expected, atol=1e-8)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_outputs_are_principal_components_of_predicted_responses(kind: Any) -> None:
    X, Ys, _ = _subjects(80, 20, n_subjects=3)
    settings = TrunkSettings(kind, width=12, epochs=3 if kind == "mlp" else None)
    trunk = train_trunk(Streams((X[:, :30], X[:, 30:])), np.arange(80), Ys, settings)
    streams = Streams((X[:, :30], X[:, 30:]))
    predicted = trunk.predict(streams) / np.concatenate(Ys, axis=1).std(axis=0)
    predicted -= predicted[:80].mean(axis=0)
    outputs = trunk.features(streams)
    np.testing.assert_allclose(outputs @ outputs.T, predicted @ predicted.T, atol=1e-8)
    products = outputs[:80].T @ outputs[:80]
    np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-8)
    assert (np.diff(np.diag(products)) <= 1e-8).all()


def _by_hand(trunk: Trunk, features: tuple[FloatArray, ...], series: FloatArray) -> FloatArray:
    """Convolve one volume, stream and delay after the other."""
    place = {(run, at): row for row, (run, at) in enumerate(series.tolist())}
    hidden = np.zeros((len(series), trunk.head.shape[0]))
    for row, (run, at) in enumerate(series.tolist()):
        for X, mean, A, K in zip(features, trunk.means, trunk.maps, trunk.kernels, strict=True):
            for j in range(K.shape[1]):
                before = place.get((run, at - (j if trunk.causal else j - K.shape[1] // 2)))
                if before is not None:
                    hidden[row] += K[:, j] * ((X[before] - mean) @ A)
    return hidden


@pytest.mark.parametrize("causal", [False, True])
def test_a_kernel_stays_inside_its_run_and_gaps_are_empty(causal: bool) -> None:
    series = _series(7, 12, 3)[[0, 1, 2, 3, 5, 6, *range(8, 22), 7]]  # a volume is missing, another comes late
    features = RNG.standard_normal((len(series), 3)), RNG.standard_normal((len(series), 2))
    Y = RNG.standard_normal((12, 4))
    settings = replace(SMALL, causal=causal, epochs=1, window=6)
    trunk = train_trunk(Streams(features, series), np.arange(12), [Y], settings)
    found = trunk.hidden(Streams(features, series))
    np.testing.assert_allclose(found, _by_hand(trunk, features, series), atol=1e-10)


def test_training_sees_what_prediction_gives() -> None:
    X, Y, series = RNG.standard_normal((40, 3)), RNG.standard_normal((40, 5)), _series(40)
    settings = replace(SMALL, learning_rate=1e-30, weight_decay=0.0, window=40, windows=1, epochs=1)
    trunk = train_trunk(Streams((X,), series), np.arange(40), [Y], settings)
    error = np.square((trunk.predict(Streams((X,), series)) - Y) / Y.std(axis=0)).mean()
    assert trunk.errors[0] == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize("lag", [-2, 2])
def test_a_planted_delay_is_where_the_kernel_is_largest(lag: int) -> None:
    X = RNG.standard_normal((400, 4))
    Y = np.roll(X, lag, axis=0) @ RNG.standard_normal((4, 10)) + 0.3 * RNG.standard_normal((400, 10))
    streams, rows = Streams((X,), _series(200, 200)), np.arange(200)
    settings = replace(SMALL, epochs=20)
    trunk = train_trunk(streams, rows, [Y[rows]], settings)
    power = np.square(trunk.kernels[0] * np.linalg.norm(trunk.maps[0], axis=0)[:, None]).sum(axis=0)
    assert power.argmax() - 2 == lag
    assert _held_out(trunk.features(streams), Y[rows], Y, 200) > 0.8
    causal = train_trunk(streams, rows, [Y[rows]], replace(settings, causal=True))
    assert (_held_out(causal.features(streams), Y[rows], Y, 200) > 0.8) is (lag > 0)


def test_many_subjects_are_better_than_one_and_a_new_one_gets_a_head() -> None:
    X, Ys, truth = _subjects()
    streams, rows, linear = Streams((X,)), np.arange(100), TrunkSettings("linear")
    joint = train_trunk(streams, rows, Ys[:-1], linear).features(streams)
    own = [train_trunk(streams, rows, [Y], linear).features(streams) for Y in Ys]
    together, alone = (
        np.array([_held_out(outputs[s], Ys[s], truth[s], 100) for s in range(10)]) for outputs in ([joint] * 10, own)
    )
    assert (together > 1.03 * alone).all()
    assert together[-1] > 1.03 * alone[-1]  # whom the trunk never saw
    plain = np.array([_held_out(X, Ys[s], truth[s], 100) for s in range(10)])
    assert together.mean() > 1.1 * plain.mean()


def test_the_shared_head_predicts_a_subject_without_responses() -> None:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((300, 8))
    common = X @ rng.standard_normal((8, 6))
    Ys = [common + 0.5 * X @ rng.standard_normal((8, 6)) + rng.standard_normal((300, 6)) for _ in range(5)]
    settings = TrunkSettings(
        "mlp", width=16, shared_head=True, rank=2, subject_dropout=0.3, epochs=40, learning_rate=3e-3
    )
    trunk = train_trunk(Streams((X,)), np.arange(200), [Y[:200] for Y in Ys[:4]], settings)
    new = trunk.predict_unseen(Streams((X,)))[200:]
    assert voxel_scores(Ys[4][200:], new, "pearson_r").mean() > 0.6
    assert trunk.head.shape == (16, 24)
    own = trunk.head / np.concatenate([Y[:200] for Y in Ys[:4]], axis=1).std(axis=0) - np.tile(trunk.shared, 4)
    assert [np.linalg.matrix_rank(own[:, 6 * s : 6 * s + 6], tol=1e-5) for s in range(4)] == [2] * 4
    plain = train_trunk(Streams((X,)), np.arange(200), [Ys[0][:200]], TrunkSettings("linear"))
    with pytest.raises(OptionError, match="got none: set shared_head"):
        plain.predict_unseen(Streams((X,)))


def test_a_trunk_is_rebuilt_from_its_arrays(tmp_path: Path) -> None:
    streams = Streams((RNG.standard_normal((30, 3)), RNG.standard_normal((30, 2))), _series(10, 20))
    for settings in (SMALL, replace(SMALL, kernel=4, causal=True, shared_head=True)):
        trunk = train_trunk(streams, np.arange(20), [RNG.standard_normal((20, 4))], settings)
        np.savez(tmp_path / "trunk.npz", **trunk.arrays())
        with np.load(tmp_path / "trunk.npz") as arrays:
            again = rebuild(arrays)
        np.testing.assert_array_equal(again.features(streams), trunk.features(streams))
        np.testing.assert_array_equal(again.predict(streams), trunk.predict(streams))


@pytest.mark.parametrize("kind", ["temporal", "mlp"])
def test_a_killed_training_goes_on_to_the_same_bits(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporal = kind == "temporal"
    streams = Streams((RNG.standard_normal((60, 5)),), _series(30, 30) if temporal else None)
    Y = RNG.standard_normal((60, 4))
    settings = SMALL if temporal else TrunkSettings("mlp", width=6)
    whole = train_trunk(streams, np.arange(60), [Y], settings, seed=3)
    save: Callable[..., None] = trunk_training._State._save

    def killed(state: trunk_training._State, path: Path) -> None:
        save(state, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trunk_training._State, "_save", killed)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                train_trunk(streams, np.arange(60), [Y], settings, seed=3, scratch=tmp_path)
    again = train_trunk(streams, np.arange(60), [Y], settings, seed=3, scratch=tmp_path)
    assert len(whole.errors) > 3
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array, err_msg=name)
    (tmp_path / "epoch.npz").write_bytes(b"PK damaged")
    anew = train_trunk(streams, np.arange(60), [Y], settings, seed=3, scratch=tmp_path)
    np.testing.assert_array_equal(anew.head, whole.head)
    other = train_trunk(streams, np.arange(60), [Y], settings, seed=4)
    assert not np.array_equal(other.head, whole.head)


def test_a_stream_that_does_not_vary_and_a_constant_voxel_do_no_harm() -> None:
    X, Y = RNG.standard_normal((20, 3)), RNG.standard_normal((20, 2))
    Y[:, 1] = 5.0
    trunk = train_trunk(Streams((X, np.ones((20, 2)))), np.arange(20), [Y], TrunkSettings("linear"))
    np.testing.assert_allclose(trunk.predict(Streams((X, np.ones((20, 2)))))[:, 1], 5.0)
    nothing = train_trunk(Streams((np.ones((20, 2)),)), np.arange(20), [Y], TrunkSettings("linear"))
    np.testing.assert_allclose(nothing.predict(Streams((X[:, :2],))), np.tile(Y.mean(axis=0), (20, 1)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "temporal", "kernel": 4}, "kernel must be odd, or causal true; got 4; take 5"),
        ({"kind": "linear", "rank": 2}, "rank and shared_head go with kinds mlp and temporal"),
        ({"kind": "mlp", "subject_dropout": 0.1}, "subject_dropout needs shared_head"),
        ({"kind": "tree"}, "kind must be one of linear, mlp, temporal"),
        ({"width": 0}, "width must be at least 1; got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        TrunkSettings(**changes)


def test_wrong_data_are_refused() -> None:
    X, Y, rows = RNG.standard_normal((20, 3)), RNG.standard_normal((20, 2)), np.arange(20)
    linear, mlp = TrunkSettings("linear"), TrunkSettings("mlp", shared_head=True)
    with pytest.raises(ShapeError, match="responses of each subject"):
        train_trunk(Streams((X,)), rows, [Y[:5]], linear)
    with pytest.raises(DataError, match="responses of each subject"):
        train_trunk(Streams((X,)), rows, [np.full_like(Y, np.nan)], linear)
    with pytest.raises(DataError, match="at least 2 training stimuli; got 1"):
        train_trunk(Streams((X,)), rows[:1], [Y[:1]], linear)
    with pytest.raises(OptionError, match="the same voxels in every subject; got 2, 1"):
        train_trunk(Streams((X,)), rows, [Y, Y[:, :1]], mlp)
    with pytest.raises(OptionError, match="kind temporal is for time series"):
        train_trunk(Streams((X,)), rows, [Y], SMALL)
    trunk = train_trunk(Streams((X,)), rows, [Y], linear)
    with pytest.raises(ShapeError, match="reads 1 streams; got 2"):
        trunk.predict(Streams((X, X)))
