"""What every registered encoder must do, and what linear ones must do besides."""

from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError
from voxelcast.encoders.banded_ridge import fit_banded_ridge
from voxelcast.encoders.linear import LinearEncoder
from voxelcast.encoders.moments import checked_samples, moments
from voxelcast.encoders.params import Params, ProblemSize
from voxelcast.encoders.registry import ENCODERS, get_encoder, list_encoders
from voxelcast.testing.encoders import BAD_DATA, EncoderSuite, encoder_data

from .paths import all_coefficients

QUICK: dict[str, Params] = {
    "mlp": {"layers": 1, "width": 16, "learning_rate": 1e-2, "dropout": 0.1, "weight_decay": 0.1},
    "boosted_trees": {"learning_rate": 0.3, "max_leaf_nodes": 4, "min_samples_leaf": 2, "l2": 0.1},
}
TRAINED = ("finetuned", "readout")
AUTOML = [name for name in list_encoders() if ENCODERS.get(name).uses_automl]
LINEAR = [name for name in list_encoders() if issubclass(ENCODERS.get(name), LinearEncoder)]


class TestOurs(EncoderSuite):
    """All but automatic machine learning, which works against the clock and has tests of its own."""

    names = tuple(name for name in list_encoders() if name not in AUTOML)
    params = QUICK
    random = approximate = (*QUICK, *TRAINED)
    not_least_squares = ("cca", "cca_2021", "pls_canonical", "pls_canonical_2021")
    start_from_a_voxel = ("pls_2021", "pls_canonical_2021")


@pytest.mark.parametrize("name", AUTOML)
@pytest.mark.parametrize("bad", BAD_DATA)
def test_automatic_machine_learning_refuses_bad_data(name: str, bad: str) -> None:
    change, error, message = BAD_DATA[bad]
    with pytest.raises(error, match=message):
        get_encoder(name).fit(*change(*encoder_data(30, 4, 3)), {})


@pytest.fixture(params=LINEAR)
def encoder(request: pytest.FixtureRequest) -> LinearEncoder:
    """Give each linear encoder."""
    made = get_encoder(str(request.param))
    assert isinstance(made, LinearEncoder)
    return made


@pytest.mark.parametrize(("n", "p", "q"), [(60, 8, 12), (60, 8, 3), (60, 8, 1), (12, 20, 30), (12, 20, 1), (9, 1, 4)])
def test_path_equals_fit_of_each(encoder: LinearEncoder, n: int, p: int, q: int) -> None:
    X, Y = encoder_data(n, p, q, noise=2.0)
    grid = encoder.param_grid(ProblemSize(n, p, q))
    path = encoder.path(moments(X, Y), grid)
    assert path.params_list == grid
    coefficients = all_coefficients(path)
    for params, B in list(zip(grid, coefficients, strict=True))[:: max(1, len(grid) // 8)]:
        fitted = encoder.fit(X, Y, params)
        np.testing.assert_allclose(B, fitted.coefficients, atol=1e-8 * np.abs(fitted.coefficients).max(), rtol=0)
        expected = Y.mean(axis=0) + (X - X.mean(axis=0)) @ fitted.coefficients
        np.testing.assert_allclose(fitted.predict(X), expected, atol=1e-8)
    np.testing.assert_array_equal(path.coefficients(len(grid) // 2), coefficients[len(grid) // 2])
    pick = np.arange(q) % len(grid)
    picked = path.picked_coefficients(pick)
    np.testing.assert_allclose(picked, np.stack([coefficients[k][:, v] for v, k in enumerate(pick)], axis=1), atol=1e-9)


@pytest.mark.parametrize("bad", [name for name in BAD_DATA if name != "no stimulus"])
def test_banded_ridge_refuses_bad_data_too(bad: str) -> None:
    change, error, _ = BAD_DATA[bad]
    X, Y = change(*encoder_data(30, 4, 3))
    with pytest.raises(error, match="finite" if error is DataError else "shape"):
        fit_banded_ridge([X, encoder_data(30, 4, 3)[0]], Y, np.arange(30) % 3)


def test_training_data_in_double_precision_are_not_copied() -> None:
    X, Y = encoder_data(30, 4, 3)
    checked: tuple[FloatArray, FloatArray] = checked_samples(X, Y)
    assert checked[0] is X
    assert checked[1] is Y
