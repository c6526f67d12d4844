"""What every encoder without a path must do."""

from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.encoders.base import Params
from voxelcast.encoders.registry import SAMPLE_ENCODERS, can_be_exact, get_encoder
from voxelcast.encoders.sample import SampleEncoder

SEARCHED = sorted(name for name in SAMPLE_ENCODERS if name not in ("flaml", "autosklearn"))
"""Automatic machine learning works against the clock: it has tests of its own."""

QUICK: dict[str, Params] = {
    "mlp": {"layers": 1, "width": 16, "learning_rate": 1e-2, "dropout": 0.1, "weight_decay": 0.1},
    "boosted_trees": {"learning_rate": 0.3, "max_leaf_nodes": 4, "min_samples_leaf": 2, "l2": 0.1},
}


def _data(n: int, p: int, q: int) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p)) * np.geomspace(2, 0.2, p) + 3
    return X, X @ rng.standard_normal((p, q)) + 0.5 * rng.standard_normal((n, q)) - 5


def _setting(encoder: SampleEncoder) -> Params:
    return QUICK[encoder.name] if encoder.name in QUICK else encoder.settings(50, 5, 5)[-6]


@pytest.fixture(params=SEARCHED)
def encoder(request: pytest.FixtureRequest) -> SampleEncoder:
    """Give each encoder that is fitted to samples."""
    return SAMPLE_ENCODERS[str(request.param)](3)


@pytest.mark.parametrize(("n", "p", "q"), [(60, 8, 3), (60, 8, 1), (12, 20, 4), (9, 1, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predicts_every_voxel(encoder: SampleEncoder, n: int, p: int, q: int, dtype: type[np.floating]) -> None:
    X, Y = (values.astype(dtype) for values in _data(n, p, q))
    model = encoder.fit(X, Y, _setting(encoder))
    assert model.setting == _setting(encoder)
    predicted = model.predict(X[:5])
    assert predicted.shape == (5, q)
    assert predicted.dtype == np.float64
    assert np.isfinite(predicted).all()
    assert model.predict(X[:0]).shape == (0, q)


def test_learns(encoder: SampleEncoder) -> None:
    X, Y = _data(200, 4, 2)
    predicted = encoder.fit(X[:150], Y[:150], _setting(encoder)).predict(X[150:])
    for voxel in range(2):
        assert np.corrcoef(predicted[:, voxel], Y[150:, voxel])[0, 1] > 0.6


def test_single_precision_is_computed_in_double(encoder: SampleEncoder) -> None:
    X, Y = (values.astype(np.float32) for values in _data(40, 5, 3))
    single = encoder.fit(X, Y, _setting(encoder)).predict(X)
    double = encoder.fit(X.astype(np.float64), Y.astype(np.float64), _setting(encoder)).predict(X)
    np.testing.assert_array_equal(single, double)


def test_the_same_seed_gives_the_same_bits(encoder: SampleEncoder) -> None:
    X, Y = _data(40, 5, 3)
    setting = _setting(encoder)
    again = type(encoder)(3).fit(X, Y, setting).predict(X)
    np.testing.assert_array_equal(encoder.fit(X, Y, setting).predict(X), again)


def test_seeds_matter_where_something_is_left_to_chance(encoder: SampleEncoder) -> None:
    X, Y = _data(40, 5, 3)
    setting = _setting(encoder)
    other = type(encoder)(4).fit(X, Y, setting).predict(X)
    assert np.array_equal(encoder.fit(X, Y, setting).predict(X), other) == encoder.name.startswith("kernel_ridge")


def test_inputs_are_left_as_they_are(encoder: SampleEncoder) -> None:
    X, Y = _data(40, 5, 3)
    X_before, Y_before = X.copy(), Y.copy()
    encoder.fit(X, Y, _setting(encoder)).predict(X)
    np.testing.assert_array_equal(X, X_before)
    np.testing.assert_array_equal(Y, Y_before)


def test_shift_of_responses_shifts_predictions_alone(encoder: SampleEncoder) -> None:
    X, Y = _data(40, 5, 3)
    setting = _setting(encoder)
    shift = np.array([0.0, -20.0, 300.0])
    shifted = encoder.fit(X, Y + shift, setting).predict(X)
    np.testing.assert_allclose(shifted, encoder.fit(X, Y, setting).predict(X) + shift, atol=2e-3)


def test_predict_all_is_fit_and_predict(encoder: SampleEncoder) -> None:
    X, Y = _data(40, 5, 3)
    settings = [_setting(encoder)] * 2
    for train, test in encoder.predict_all(X[:30], Y[:30], settings, [X[:30], X[30:]]):
        model = encoder.fit(X[:30], Y[:30], settings[0])
        np.testing.assert_allclose(train, model.predict(X[:30]), atol=1e-9)
        np.testing.assert_allclose(test, model.predict(X[30:]), atol=1e-9)


def test_every_corner_of_the_space_can_be_fitted(encoder: SampleEncoder) -> None:
    X, Y = _data(20, 5, 2)
    space = encoder.space(20, 5, 2)
    for side in ("low", "high"):
        setting = {name: getattr(bounds, side) for name, bounds in space.items()}
        assert np.isfinite(encoder.fit(X, Y, setting).predict(X)).all()


def test_listed_settings_lie_inside_the_space(encoder: SampleEncoder) -> None:
    space, settings = encoder.space(30, 5, 2), encoder.settings(30, 5, 2)
    assert can_be_exact(encoder.name) == (len(settings) > 0)
    for setting in settings:
        assert set(setting) == set(space)
        assert all(space[name].low <= value <= space[name].high for name, value in setting.items())


def test_constant_features_give_the_mean_response(encoder: SampleEncoder) -> None:
    Y = _data(30, 4, 3)[1]
    fitted = encoder.fit(np.full((30, 4), 7.0), Y, _setting(encoder))
    # A network's or a tree's output for constant features is the mean up to where its training stopped.
    close = 0 if encoder.name.startswith("kernel_ridge") else 0.5
    np.testing.assert_allclose(
        fitted.predict(np.full((2, 4), 7.0)), np.tile(Y.mean(axis=0), (2, 1)), atol=close * Y.std() + 1e-9
    )


def test_refuses_an_unknown_setting(encoder: SampleEncoder) -> None:
    X, Y = _data(20, 5, 2)
    with pytest.raises(OptionError, match="no setting 'colour'"):
        encoder.fit(X, Y, {**_setting(encoder), "colour": 1})


def test_the_registry_passes_the_seed_on() -> None:
    made = get_encoder("mlp", seed=7)
    assert isinstance(made, SampleEncoder)
    assert made.seed == 7
