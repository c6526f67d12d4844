"""The multilayer perceptron: its training is what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, OptionError
from voxelcast.encoders.mlp import MLP, MLPModel, set_aside
from voxelcast.encoders.params import Params
from voxelcast.encoders.perceptron import Architecture, train_perceptron
from voxelcast.encoders.ridge import Ridge

SETTING: Params = {"layers": 1, "width": 64, "learning_rate": 3e-3, "dropout": 0.1, "weight_decay": 0.01}


def _data(n: int = 200) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 3))
    Y = np.square(X) @ rng.standard_normal((3, 4)) * 5 + rng.standard_normal((n, 4)) + 100
    return X, Y


def _error(model: MLPModel, X: FloatArray, Y: FloatArray) -> float:
    """Mean squared error in units of the training responses' variance."""
    return float(np.square((model.predict(X) - Y) / model.y_scale).mean())


def test_predicts_what_a_linear_model_cannot() -> None:
    X, Y = _data(400)
    mlp = MLP().fit(X[:300], Y[:300], SETTING).predict(X[300:])
    ridge = Ridge().fit(X[:300], Y[:300], {"relative_alpha": 0.01}).predict(X[300:])
    r = [np.mean([np.corrcoef(P[:, v], Y[300:, v])[0, 1] for v in range(4)]) for P in (mlp, ridge)]
    assert r[0] > 0.85
    assert r[1] < 0.4


def test_the_best_epoch_is_restored() -> None:
    X, Y = _data()
    model = MLP(5).fit(X, Y, {**SETTING, "learning_rate": 1e-2, "dropout": 0.0})
    aside, kept = set_aside(200, 5)
    assert sorted([*aside, *kept]) == list(range(200))
    assert len(aside) == 20
    # Training went on for ten epochs after the best one, which is not the last.
    assert len(model.errors) < 300
    assert model.errors.argmin() == len(model.errors) - 11
    assert _error(model, X[aside], Y[aside]) == pytest.approx(model.errors.min(), rel=1e-4)


def test_predictions_are_those_of_the_network_in_torch() -> None:
    X, Y = _data()
    model = MLP().fit(X, Y, {**SETTING, "layers": 3})
    parts: list[torch.nn.Module] = []
    for W, b in zip(model.weights, model.biases, strict=True):
        linear = torch.nn.Linear(W.shape[1], W.shape[0], dtype=torch.float64)
        linear.weight.data, linear.bias.data = torch.from_numpy(W), torch.from_numpy(b)
        parts += [linear, torch.nn.ReLU()]
    inputs = torch.from_numpy((X - X.mean(axis=0)) / np.sqrt(X.var(axis=0).mean()))
    expected = torch.nn.Sequential(*parts[:-1])(inputs).detach().numpy() * Y.std(axis=0) + Y.mean(axis=0)
    np.testing.assert_allclose(model.predict(X), expected, atol=1e-9)


def test_weight_decay_shrinks_weights_and_leaves_biases(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X, Y, rows = rng.standard_normal((72, 3)), rng.standard_normal((72, 2)), np.arange(72)
    # One epoch of one batch is one step, whose gradient is the same with and without decay.
    monkeypatch.setattr("voxelcast.encoders.perceptron._MOST_EPOCHS", 1)
    (initial, initial_biases, _), (plain, biases, _), (decayed, decayed_biases, _) = (
        train_perceptron(X, Y, rows[:64], rows[64:], Architecture((8,), rate, 0.0, decay), 1)
        for rate, decay in ((0.0, 0.0), (1e-2, 0.0), (1e-2, 10.0))
    )
    for layer in range(2):
        shrunk = plain[layer] - 1e-2 * 10.0 * initial[layer]
        np.testing.assert_allclose(decayed[layer], shrunk, atol=1e-6)
        assert (biases[layer] != initial_biases[layer]).any()
        np.testing.assert_array_equal(decayed_biases[layer], biases[layer])


def test_a_voxel_that_is_constant_in_training_leaves_the_others_as_they_are() -> None:
    X, Y = _data()
    Y[:, 2] = 3.5
    model = MLP().fit(X, Y, SETTING)
    predicted = model.predict(X)
    assert model.y_scale[2] == 1.0
    np.testing.assert_allclose(predicted[:, 2], 3.5, atol=0.5)
    assert all(np.corrcoef(predicted[:, voxel], Y[:, voxel])[0, 1] > 0.8 for voxel in (0, 1, 3))


def test_dropout_is_on_in_every_epoch_and_off_in_predictions() -> None:
    X, Y = _data()
    with_dropout, without = (MLP().fit(X, Y, {**SETTING, "dropout": d}) for d in (0.6, 0.0))
    _, kept = set_aside(200, 0)
    # Noise in training keeps the network from fitting the training stimuli closely.
    assert _error(with_dropout, X[kept], Y[kept]) > 1.5 * _error(without, X[kept], Y[kept])
    np.testing.assert_array_equal(with_dropout.predict(X), with_dropout.predict(X))


def test_training_leaves_torch_as_it_was() -> None:
    X, Y = _data(30)
    torch.manual_seed(0)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    MLP().fit(X, Y, SETTING)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_refuses_half_a_layer_and_a_single_stimulus() -> None:
    X, Y = _data(30)
    with pytest.raises(OptionError, match=r"mlp needs layers, a whole number in 1 to 3; got 1\.5"):
        MLP().fit(X, Y, {**SETTING, "layers": 1.5})
    with pytest.raises(DataError, match="at least 2 stimuli"):
        MLP().fit(X[:1], Y[:1], SETTING)
