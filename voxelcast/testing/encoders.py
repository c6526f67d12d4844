"""Conformance of encoders: what every one must do, ours and those that other packages add.

A package tests its encoder by a subclass that names it::

    from voxelcast.testing.encoders import EncoderSuite

    class TestMine(EncoderSuite):
        names = ("my_encoder",)
        params = {"my_encoder": {"depth": 3}}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.moments import roi_scores
from voxelcast.encoders.params import Params, ProblemSize
from voxelcast.encoders.registry import can_be_exact, get_encoder, list_encoders
from voxelcast.scoring.correlation import mean_pearson_r, pearson_r
from voxelcast.search.base import GivenFeatures
from voxelcast.search.training import PairData, training

NOT_NUMBERS = (float("nan"), float("inf"), -float("inf"), "3", None, True, np.True_, [1.0])
Change = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]


def _with(values: FloatArray, bad: float) -> FloatArray:
    changed = values.copy()
    changed[7, 1] = bad
    return changed


BAD_DATA: Mapping[str, tuple[Change, type[Exception], str]] = {
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
"""Training data that do not fit: how they are made of features (30, 4) and responses (30, 3), and what is said."""


def encoder_data(n: int, p: int, q: int, noise: float = 0.5) -> tuple[FloatArray, FloatArray]:
    """Return features, ndarray of shape (n, p), and responses that follow from them, (n, q)."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p)) * np.geomspace(2, 0.2, p) + 3
    return X, X @ rng.standard_normal((p, q)) + noise * rng.standard_normal((n, q)) - 5


class EncoderSuite:
    """Tests of the encoders named; pytest runs those of subclasses whose names begin with Test."""

    names: ClassVar[Sequence[str]] = ()
    """Encoders, by their names in the registry."""
    params: ClassVar[Mapping[str, Params]] = {}
    """Of an encoder without a grid: parameters that are quickly fitted."""
    random: ClassVar[Sequence[str]] = ()
    """Encoders that leave something to chance."""
    approximate: ClassVar[Sequence[str]] = ()
    """Encoders whose training stops before its minimum."""
    not_least_squares: ClassVar[Sequence[str]] = ()
    """Encoders whose predictions do not minimise squares."""
    start_from_a_voxel: ClassVar[Sequence[str]] = ()
    """Encoders whose iterations start from the first voxel and end early, so that the order of voxels matters."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run every test for every encoder."""
        if "name" in metafunc.fixturenames:
            metafunc.parametrize("name", self.names)

    def params_of(self, encoder: Encoder, n: int = 30, p: int = 4, q: int = 3) -> Params:
        """Return parameters of middle complexity."""
        if encoder.name in self.params:
            return self.params[encoder.name]
        grid = encoder.param_grid(ProblemSize(n, p, q))
        return grid[len(grid) // 2]

    def test_is_listed_and_made_with_a_seed(self, name: str) -> None:
        assert name in list_encoders()
        encoder = get_encoder(name, 3)
        assert (encoder.name, encoder.seed) == (name, 3)

    @pytest.mark.parametrize(("n", "p", "q"), [(60, 8, 3), (60, 8, 1), (12, 20, 4), (9, 1, 2)])
    def test_predicts_every_voxel(self, name: str, n: int, p: int, q: int) -> None:
        encoder, (X, Y) = get_encoder(name, 3), encoder_data(n, p, q)
        params = self.params_of(encoder, n, p, q)
        model = encoder.fit(X, Y, params)
        assert model.params == params
        predicted = model.predict(X[:5])
        assert predicted.shape == (5, q)
        assert predicted.dtype == np.float64
        assert np.isfinite(predicted).all()
        assert model.predict(X[:0]).shape == (0, q)
        assert all(np.isfinite(array).all() for array in model.arrays().values())

    def test_learns(self, name: str) -> None:
        encoder, (X, Y) = get_encoder(name, 3), encoder_data(200, 4, 2)
        predicted = encoder.fit(X[:150], Y[:150], self.params_of(encoder, 150, 4, 2)).predict(X[150:])
        assert (pearson_r(Y[150:], predicted) > 0.6).all()

    def test_single_precision_is_computed_in_double(self, name: str) -> None:
        encoder, (X, Y) = get_encoder(name, 3), (part.astype(np.float32) for part in encoder_data(30, 4, 3))
        params = self.params_of(encoder)
        double = encoder.fit(X.astype(np.float64), Y.astype(np.float64), params)
        np.testing.assert_array_equal(encoder.fit(X, Y, params).predict(X), double.predict(X))

    def test_lists_are_taken_as_arrays(self, name: str) -> None:
        encoder, (X, Y) = get_encoder(name, 3), encoder_data(30, 4, 3)
        params = self.params_of(encoder)
        listed: tuple[FloatArray, FloatArray] = (X.tolist(), Y.tolist())
        np.testing.assert_array_equal(encoder.fit(*listed, params).predict(X), encoder.fit(X, Y, params).predict(X))

    def test_same_seed_same_bits_and_inputs_stay_as_they_are(self, name: str) -> None:
        X, Y = encoder_data(30, 4, 3)
        before = X.copy(), Y.copy()
        params = self.params_of(get_encoder(name))
        first, again, other = (get_encoder(name, seed).fit(X, Y, params).predict(X) for seed in (3, 3, 4))
        np.testing.assert_array_equal(first, again)
        assert np.array_equal(first, other) == (name not in self.random)
        np.testing.assert_array_equal(X, before[0])
        np.testing.assert_array_equal(Y, before[1])

    def test_shifts_of_responses_and_features(self, name: str) -> None:
        encoder, (X, Y) = get_encoder(name, 3), encoder_data(40, 4, 3)
        params, close = self.params_of(encoder, 40, 4, 3), name in self.approximate
        shift, plain = np.array([0.0, -20.0, 300.0]), encoder.fit(X, Y, params).predict(X)
        shifted = encoder.fit(X, Y + shift, params).predict(X)
        np.testing.assert_allclose(shifted, plain + shift, atol=2e-3 if close else 1e-8)
        if not close:
            moved = X + np.array([0.0, 1.0, -20.0, 300.0])
            np.testing.assert_allclose(encoder.fit(moved, Y, params).predict(moved), plain, atol=1e-7)

    def test_order_of_voxels_does_not_matter(self, name: str) -> None:
        encoder, (X, Y) = get_encoder(name, 3), encoder_data(40, 4, 5)
        if name in (*self.random, *self.start_from_a_voxel):
            pytest.skip("what chance does to a voxel, or where iterations end, depends on its index")
        order, params = np.random.default_rng(1).permutation(5), self.params_of(encoder, 40, 4, 5)
        permuted = encoder.fit(X, Y[:, order], params).predict(X)
        np.testing.assert_allclose(permuted, encoder.fit(X, Y, params).predict(X)[:, order], atol=1e-9)

    def test_constant_features_give_the_mean_response(self, name: str) -> None:
        encoder, (_, Y) = get_encoder(name, 3), encoder_data(30, 4, 3)
        fitted = encoder.fit(np.full((30, 4), 7.0), Y, self.params_of(encoder))
        close = 0.5 * Y.std() if name in self.approximate else 1e-9
        new = np.full((2, 4), 7.0 if name in self.approximate else 9.0)
        np.testing.assert_allclose(fitted.predict(new), np.tile(Y.mean(axis=0), (2, 1)), atol=close)

    @pytest.mark.parametrize(("n", "p"), [(50, 7), (5, 20), (2, 3)])
    def test_the_grid_lies_inside_the_search_space_and_can_be_fitted(self, name: str, n: int, p: int) -> None:
        encoder, (X, Y) = get_encoder(name, 3), encoder_data(n, p, 4)
        size = ProblemSize(n, p, 4)
        search_space, grid = encoder.search_space(size), encoder.param_grid(size)
        assert can_be_exact(name) == (len(grid) > 0)
        for k, params in enumerate(grid):
            assert set(params) == set(search_space)
            for key, value in params.items():
                assert search_space[key].low * (1 - 1e-12) <= value <= search_space[key].high * (1 + 1e-12)
            if k % 7 == 0 or k == len(grid) - 1:
                assert np.isfinite(encoder.fit(X, Y, params).predict(X)).all()
        assert [encoder.order(params) for params in grid] == sorted(encoder.order(params) for params in grid)

    def test_every_corner_of_the_search_space_can_be_fitted(self, name: str) -> None:
        encoder, (X, Y) = get_encoder(name, 3), encoder_data(20, 5, 2)
        search_space = encoder.search_space(ProblemSize(20, 5, 2))
        for side in ("low", "high"):
            params = {key: getattr(bounds, side) for key, bounds in search_space.items()}
            assert np.isfinite(encoder.fit(X, Y, params).predict(X)).all()

    def test_the_grid_starts_with_the_simplest(self, name: str) -> None:
        encoder, (X, Y) = get_encoder(name, 3), encoder_data(50, 7, 6, noise=2.0)
        grid = encoder.param_grid(ProblemSize(50, 7, 6))
        if name in self.not_least_squares or len(grid) < 2:
            pytest.skip("its predictions do not minimise squares, or it has no grid")
        errors = [float(np.square(encoder.fit(X, Y, params).predict(X) - Y).sum()) for params in grid]
        for varied in grid[0]:  # along each hyper-parameter, the others being equal
            others = [tuple(value for key, value in params.items() if key != varied) for params in grid]
            for same in dict.fromkeys(others):
                along = [error for error, other in zip(errors, others, strict=True) if other == same]
                if encoder.order(grid[0]):
                    assert all(later <= earlier * (1 + 1e-12) for earlier, later in pairwise(along))
                    assert along[-1] < along[0]

    def test_evaluate_and_fit_members_are_fit_and_predict(self, name: str) -> None:
        encoder, (X, Y) = get_encoder(name, 3), encoder_data(36, 4, 3)
        folds = np.arange(36) % 3
        data = training(GivenFeatures("network", "layer", X), PairData(Y, folds, 3))
        grid = encoder.param_grid(ProblemSize(12, 4, 3)) or (self.params_of(encoder),)
        some = tuple({str(params): params for params in (grid[0], grid[len(grid) // 2], grid[-1])}.values())
        scores = encoder.evaluate(data, some, (0, 2), (0, 2))
        kept = folds == 1
        for fold, found in zip((0, 2), scores, strict=True):
            held = folds == fold
            for row, params in zip(found, some, strict=True):
                predicted = encoder.fit(X[kept], Y[kept], params).predict(X[held])
                np.testing.assert_allclose(row, pearson_r(Y[held], predicted), atol=1e-8)
                roi = roi_scores(row[None], data.held_out(fold))
                np.testing.assert_allclose(roi, mean_pearson_r(Y[held], predicted), atol=1e-8)
        pick = np.arange(3) % len(some)
        mixed, single = encoder.fit_members(data, [(some, pick), (some[:1], np.zeros(3, dtype=int))], (0, 2))
        models = [encoder.fit(X[kept], Y[kept], params).predict(X) for params in some]
        expected = np.stack([models[k][:, voxel] for voxel, k in enumerate(pick)], axis=1)
        np.testing.assert_allclose(mixed.predict(X), expected, atol=1e-7)
        np.testing.assert_allclose(single.predict(X), models[0], atol=1e-7)

    def test_costs_are_stated(self, name: str) -> None:
        encoder, small, large = get_encoder(name), ProblemSize(100, 10, 50), ProblemSize(1000, 100, 500)
        for seconds in (encoder.fit_seconds, lambda size: encoder.evaluate_seconds(size, 20, grid=True)):
            assert 0 <= seconds(small) <= seconds(large) < np.inf
        assert 0 < encoder.evaluate_bytes(small) < encoder.evaluate_bytes(large) < np.inf

    @pytest.mark.parametrize("bad", BAD_DATA)
    def test_refuses_training_data_that_do_not_fit(self, name: str, bad: str) -> None:
        encoder, (change, error, message) = get_encoder(name), BAD_DATA[bad]
        X, Y = change(*encoder_data(30, 4, 3))
        with pytest.raises(error, match=message):
            encoder.fit(X, Y, self.params_of(encoder))

    def test_refuses_to_predict_from_other_features(self, name: str) -> None:
        encoder, (X, Y) = get_encoder(name), encoder_data(30, 4, 3)
        model = encoder.fit(X, Y, self.params_of(encoder))
        for other in (X[:, :1], X[:, :3], X[0]):
            with pytest.raises(ShapeError, match=r"X must have shape \(n_samples, n_features=4\)"):
                model.predict(other)

    def test_refuses_other_parameters(self, name: str) -> None:
        encoder, (X, Y) = get_encoder(name), encoder_data(30, 4, 3)
        params = self.params_of(encoder)
        with pytest.raises(OptionError, match=name):
            encoder.fit(X, Y, {**params, "colour": 1})
        for key in params:
            for value in NOT_NUMBERS:
                with pytest.raises(OptionError, match=f"{name} needs .*{key}"):
                    encoder.fit(X, Y, {**params, key: value})  # type: ignore[dict-item]

    def test_takes_numbers_of_numpy(self, name: str) -> None:
        encoder, (X, Y) = get_encoder(name), encoder_data(30, 4, 3)
        plain = self.params_of(encoder)
        wholes = {key: np.int64(value) for key, value in plain.items() if value == int(value)}
        cases: list[Any] = [{key: np.float64(value) for key, value in plain.items()}, {**plain, **wholes}]
        for same in cases:
            np.testing.assert_array_equal(encoder.fit(X, Y, same).predict(X), encoder.fit(X, Y, plain).predict(X))
