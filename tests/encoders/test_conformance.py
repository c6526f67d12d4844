"""What every registered encoder must do."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.base import Encoder, Params, moments
from voxelcast.encoders.registry import ENCODERS, get_encoder

from .paths import all_coefficients

NOT_LEAST_SQUARES = ("cca", "pls_canonical")


def _data(n: int, p: int, q: int, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * np.geomspace(2, 0.2, p) + 3
    return X, X @ rng.standard_normal((p, q)) + 2 * rng.standard_normal((n, q)) - 5


def _middle(encoder: Encoder, n: int, p: int, q: int) -> Params:
    settings = encoder.settings(n, p, q)
    return settings[len(settings) // 2]


@pytest.fixture(params=sorted(ENCODERS))
def encoder(request: pytest.FixtureRequest) -> Encoder:
    """Give each registered encoder."""
    return get_encoder(str(request.param))


@pytest.mark.parametrize(("n", "p", "q"), [(60, 8, 12), (60, 8, 3), (60, 8, 1), (12, 20, 30), (12, 20, 1), (9, 1, 4)])
def test_path_equals_fit_of_each_setting(encoder: Encoder, n: int, p: int, q: int) -> None:
    X, Y = _data(n, p, q)
    settings = encoder.settings(n, p, q)
    path = encoder.path(moments(X, Y), settings)
    assert path.settings == settings
    for setting, coefficients in zip(settings, all_coefficients(path), strict=True):
        fitted = encoder.fit(X, Y, setting)
        scale = np.abs(fitted.coefficients).max()
        np.testing.assert_allclose(coefficients, fitted.coefficients, atol=1e-8 * scale, rtol=0)
    np.testing.assert_array_equal(path.coefficients(len(settings) // 2), all_coefficients(path)[len(settings) // 2])


def test_prediction_formula(encoder: Encoder) -> None:
    X, Y = _data(40, 6, 5)
    setting = _middle(encoder, 40, 6, 5)
    fitted = encoder.fit(X, Y, setting)
    assert fitted.setting == setting
    B = encoder.path(moments(X, Y), [setting]).coefficients(0)
    expected = Y.mean(axis=0) + (X - X.mean(axis=0)) @ B
    np.testing.assert_allclose(fitted.predict(X), expected, atol=1e-10)


def test_shift_of_responses_shifts_predictions_alone(encoder: Encoder) -> None:
    X, Y = _data(40, 6, 5)
    setting = _middle(encoder, 40, 6, 5)
    shift = np.array([0.0, 1.0, -20.0, 300.0, 5.0])
    plain, shifted = encoder.fit(X, Y, setting), encoder.fit(X, Y + shift, setting)
    np.testing.assert_allclose(shifted.coefficients, plain.coefficients, atol=1e-9)
    np.testing.assert_allclose(shifted.predict(X), plain.predict(X) + shift, atol=1e-9)


def test_shift_of_features_changes_no_prediction(encoder: Encoder) -> None:
    X, Y = _data(40, 6, 5)
    setting = _middle(encoder, 40, 6, 5)
    shift = np.array([0.0, 1.0, -20.0, 300.0, 5.0, 7.0])
    plain, shifted = encoder.fit(X, Y, setting), encoder.fit(X + shift, Y, setting)
    np.testing.assert_allclose(shifted.predict(X + shift), plain.predict(X), atol=1e-8)


def test_order_of_voxels_does_not_matter(encoder: Encoder) -> None:
    X, Y = _data(40, 6, 9)
    order = np.random.default_rng(1).permutation(9)
    for setting in encoder.settings(40, 6, 9)[::5]:
        plain, permuted = encoder.fit(X, Y, setting), encoder.fit(X, Y[:, order], setting)
        np.testing.assert_allclose(permuted.coefficients, plain.coefficients[:, order], atol=1e-10)


def test_single_precision_is_computed_in_double(encoder: Encoder) -> None:
    X, Y = (values.astype(np.float32) for values in _data(60, 8, 12))
    for setting in encoder.settings(60, 8, 12)[::3]:
        single = encoder.fit(X, Y, setting)
        double = encoder.fit(X.astype(np.float64), Y.astype(np.float64), setting)
        assert single.coefficients.dtype == np.float64
        np.testing.assert_array_equal(single.coefficients, double.coefficients)


def test_settings_start_with_the_simplest(encoder: Encoder) -> None:
    if encoder.name in NOT_LEAST_SQUARES:
        pytest.skip("its predictions do not minimise squares")
    X, Y = _data(50, 7, 6)
    settings = encoder.settings(50, 7, 6)
    errors = [float(np.square(encoder.fit(X, Y, setting).predict(X) - Y).sum()) for setting in settings]
    # Along each hyper-parameter, the others being equal.
    for name in settings[0]:
        others = [tuple(value for key, value in setting.items() if key != name) for setting in settings]
        for same in dict.fromkeys(others):
            line = [error for error, other in zip(errors, others, strict=True) if other == same]
            assert all(later <= earlier * (1 + 1e-12) for earlier, later in pairwise(line))
            assert line[-1] < line[0]


@pytest.mark.parametrize(("n", "p"), [(50, 7), (5, 20), (2, 3)])
def test_settings_lie_inside_the_space_and_can_be_fitted(encoder: Encoder, n: int, p: int) -> None:
    X, Y = _data(n, p, 4)
    space, settings = encoder.space(n, p, 4), encoder.settings(n, p, 4)
    assert len(settings) > 0
    for setting in settings:
        assert set(setting) == set(space)
        assert all(
            space[name].low * (1 - 1e-12) <= value <= space[name].high * (1 + 1e-12) for name, value in setting.items()
        )
        assert np.isfinite(encoder.fit(X, Y, setting).predict(X)).all()


def test_constant_features_give_the_mean_response(encoder: Encoder) -> None:
    Y = _data(30, 4, 5)[1]
    fitted = encoder.fit(np.full((30, 4), 7.0), Y, encoder.settings(30, 4, 5)[0])
    np.testing.assert_allclose(fitted.predict(np.full((3, 4), 9.0)), np.tile(Y.mean(axis=0), (3, 1)), atol=1e-12)
