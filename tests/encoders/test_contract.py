"""What every encoder refuses: training data that do not fit, and settings that are no numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.encoders.banded_ridge import fit_banded_ridge
from voxelcast.encoders.base import Encoder, Params
from voxelcast.encoders.checks import checked_samples
from voxelcast.encoders.joint_ridge import fit_joint_ridge
from voxelcast.encoders.registry import AUTOML_ENCODERS, get_encoder, list_encoders
from voxelcast.encoders.sample import AnyEncoder, SampleEncoder

NAMES = list_encoders()
SETTINGS: dict[str, Params] = {
    "mlp": {"layers": 1, "width": 16, "learning_rate": 1e-2, "dropout": 0.1, "weight_decay": 0.1},
    "boosted_trees": {"learning_rate": 0.3, "max_leaf_nodes": 4, "min_samples_leaf": 2, "l2": 0.1},
}
WITH_SETTINGS = tuple(name for name in NAMES if get_encoder(name).space(30, 4, 3))


def _data() -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((30, 4)), rng.standard_normal((30, 3))


def _setting(encoder: AnyEncoder) -> Params:
    return SETTINGS[encoder.name] if encoder.name in SETTINGS else encoder.settings(30, 4, 3)[0]


def _with(values: FloatArray, bad: float) -> FloatArray:
    changed = values.copy()
    changed[7, 1] = bad
    return changed


BAD: dict[str, tuple[Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]], type[Exception], str]] = {
    "a stimulus less in X": (lambda X, Y: (X[1:], Y), ShapeError, r"Y must have shape \(n_samples=29, n_voxels\)"),
    "one dimension in Y": (lambda X, Y: (X, Y[:, 0]), ShapeError, r"Y must have shape .* got \(30,\)"),
    "one dimension in X": (lambda X, Y: (X[:, 0], Y), ShapeError, r"X must have shape .* got \(30,\)"),
    "three dimensions in X": (lambda X, Y: (X[:, :, None], Y), ShapeError, r"X must have shape .* got \(30, 4, 1\)"),
    "NaN in X": (lambda X, Y: (_with(X, np.nan), Y), DataError, "X must be finite; got 1 of 120 values"),
    "infinity in X": (lambda X, Y: (_with(X, np.inf), Y), DataError, "X must be finite; got 1 of 120 values"),
    "NaN in Y": (lambda X, Y: (X, _with(Y, np.nan)), DataError, "Y must be finite; got 1 of 90 values"),
    "infinity in Y": (lambda X, Y: (X, _with(Y, -np.inf)), DataError, "Y must be finite; got 1 of 90 values"),
    "no stimulus": (lambda X, Y: (X[:0], Y[:0]), DataError, "at least 1 training stimulus; got 0"),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", BAD)
def test_refuses_training_data_that_do_not_fit(name: str, bad: str) -> None:
    encoder = get_encoder(name)
    change, error, message = BAD[bad]
    X, Y = change(*_data())
    with pytest.raises(error, match=message):
        encoder.fit(X, Y, _setting(encoder))
    if isinstance(encoder, SampleEncoder):
        with pytest.raises(error, match=message):
            next(encoder.predict_all(X, Y, [_setting(encoder)], []))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in AUTOML_ENCODERS])
def test_refuses_to_predict_from_other_features(name: str) -> None:
    encoder = get_encoder(name)
    X, Y = _data()
    model = encoder.fit(X, Y, _setting(encoder))
    for other in (X[:, :1], X[:, :3], X[0]):
        with pytest.raises(ShapeError, match=r"X must have shape \(n_samples, n_features=4\)"):
            model.predict(other)


@pytest.mark.parametrize("name", WITH_SETTINGS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "3", None, True, np.True_, [1.0]])
def test_refuses_settings_that_are_no_numbers(name: str, value: float) -> None:
    encoder = get_encoder(name)
    X, Y = _data()
    for hyperparameter in _setting(encoder):
        with pytest.raises(OptionError, match=f"{name} needs .*{hyperparameter}"):
            encoder.fit(X, Y, {**_setting(encoder), hyperparameter: value})


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_takes_numbers_of_numpy(name: str) -> None:
    encoder = get_encoder(name)
    X, Y = _data()
    plain = _setting(encoder)
    wholes = {key: np.int64(value) for key, value in plain.items() if value == int(value)}
    for same in ({key: np.float64(value) for key, value in plain.items()}, {**plain, **wholes}):
        np.testing.assert_array_equal(encoder.fit(X, Y, same).predict(X), encoder.fit(X, Y, plain).predict(X))


@pytest.mark.parametrize("name", [name for name in NAMES if isinstance(get_encoder(name), Encoder)])
def test_takes_what_numpy_can_make_an_array_of(name: str) -> None:
    encoder = get_encoder(name)
    X, Y = _data()
    listed: tuple[FloatArray, FloatArray] = (X.tolist(), Y.tolist())  # type: ignore[assignment]
    np.testing.assert_array_equal(
        encoder.fit(*listed, _setting(encoder)).predict(X), encoder.fit(X, Y, _setting(encoder)).predict(X)
    )


@pytest.mark.parametrize("bad", [name for name in BAD if name != "no stimulus"])
@pytest.mark.parametrize("ridge", ["banded", "joint"])
def test_ridge_on_several_groups_refuses_them_too(bad: str, ridge: str) -> None:
    X, Y = BAD[bad][0](*_data())
    with pytest.raises(BAD[bad][1], match="finite" if BAD[bad][1] is DataError else "shape"):
        if ridge == "banded":
            fit_banded_ridge([X, _data()[0]], Y, np.arange(30) % 3)
        else:
            fit_joint_ridge([X, _data()[0]], Y, np.arange(30) % 3)


def test_training_data_in_double_precision_are_not_copied() -> None:
    X, Y = _data()
    checked = checked_samples(X, Y)
    assert checked[0] is X
    assert checked[1] is Y
