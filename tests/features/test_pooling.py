from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxelcast.core.errors import DataError, ShapeError, UnknownNameError
from voxelcast.features.pooling import list_pools, make_pool, median_over_time, weigh_over_time


def _pool(name: str, activations, cuts):
    pool = make_pool(name)
    times = np.arange(len(activations)) / 30
    edges = [0, *cuts, len(activations)]
    for start, stop in itertools.pairwise(edges):
        pool.update(activations[start:stop], times[start:stop])
    return pool.result()


@pytest.mark.parametrize("name", list_pools())
@settings(max_examples=25, deadline=None)
@given(n_times=st.integers(1, 40), data=st.data())
def test_chunking_changes_nothing(name, n_times, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, n_times - 1)), max_size=6)) if n_times > 1 else [])
    offset = data.draw(st.sampled_from([0.0, 1.0, 1000.0]))
    activations = (np.random.default_rng(n_times).standard_normal((n_times, 3, 4)) + offset).astype(np.float32)
    whole = _pool(name, activations, [])
    assert whole.dtype == np.float32
    for chunked in (_pool(name, activations, cuts), _pool(name, torch.from_numpy(activations), cuts)):
        np.testing.assert_allclose(chunked, whole, rtol=1e-6, atol=1e-6 * max(1.0, offset))


def test_mean_is_the_mean_flattened_in_c_order():
    activations = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.testing.assert_array_equal(_pool("mean", activations, [1]), activations.mean(0).ravel())


@pytest.mark.parametrize(
    ("name", "reference"),
    [("mean", np.mean), ("median", np.median), ("max", np.max), ("std", np.std)],
)
@pytest.mark.parametrize("n_times", [1, 2, 7, 24])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
def test_pools_are_numpys_and_do_not_mind_the_order(name, reference, n_times, kind):
    rng = np.random.default_rng(n_times)
    activations = (rng.standard_normal((n_times, 5, 3)) * rng.uniform(0.1, 10, (5, 3)) + 3).astype(np.float32)
    expected = reference(activations.astype(np.float64), axis=0).ravel()
    for order in (np.arange(n_times), rng.permutation(n_times)):
        got = _pool(name, kind(activations[order]), [n_times // 2] if n_times > 1 else [])
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n_times", [1, 2, 7, 24])
def test_what_is_kept_on_a_gpu_is_reduced_there_as_elsewhere(n_times):
    rng = np.random.default_rng(n_times)
    activations = (rng.standard_normal((n_times, 5, 3)) * rng.uniform(0.1, 10, (5, 3)) + 3).astype(np.float32)
    tensor = torch.from_numpy(activations)
    np.testing.assert_array_equal(median_over_time(tensor), np.median(activations, axis=0))
    weights = rng.random(n_times)
    expected = (weights[:, None, None] * activations.astype(np.float64)).sum(axis=0)
    for values in (tensor, activations):
        np.testing.assert_allclose(weigh_over_time(weights, values), expected, rtol=1e-12)
    activations[n_times // 2, 0, 0], activations[0, 1, 1] = np.nan, np.inf
    np.testing.assert_array_equal(median_over_time(torch.from_numpy(activations)), np.median(activations, axis=0))


def test_std_keeps_its_digits_beside_a_large_mean():
    activations = np.random.default_rng(0).integers(0, 2, (50, 4)).astype(np.float32) / 2**8 + 4096
    expected = (activations.astype(np.float64) - 4096).std(axis=0)
    np.testing.assert_allclose(_pool("std", activations, [3, 4, 30]), expected, rtol=1e-6)


@pytest.mark.parametrize("name", list_pools())
def test_pools_leave_the_activations_alone(name):
    shared = torch.arange(12.0).reshape(4, 3)
    pool = make_pool(name)
    pool.update(shared[:2], np.arange(2.0))
    before = pool.result()
    shared.mul_(-1)
    np.testing.assert_array_equal(pool.result(), before)


def test_mean_of_half_precision_tensors_is_summed_in_more():
    activations = torch.full((4096, 1), 1.001, dtype=torch.bfloat16)
    np.testing.assert_allclose(_pool("mean", activations, [7]), float(activations[0, 0]), rtol=1e-6)


@pytest.mark.parametrize("name", list_pools())
def test_a_pool_without_frames_is_refused(name):
    with pytest.raises(DataError, match="at least one frame"):
        make_pool(name).result()


@pytest.mark.parametrize("name", list_pools())
def test_activations_without_times_are_refused(name):
    with pytest.raises(ShapeError, match="got 2 activations and 3 times"):
        make_pool(name).update(np.zeros((2, 3), np.float32), np.zeros(3))


@pytest.mark.parametrize("name", list_pools())
def test_a_layer_that_changes_shape_is_refused(name):
    pool = make_pool(name)
    pool.update(np.zeros((2, 3), np.float32), np.zeros(2))
    with pytest.raises(ShapeError, match=r"\(4,\) after \(3,\)"):
        pool.update(np.zeros((2, 4), np.float32), np.zeros(2))


def test_unknown_pool():
    with pytest.raises(UnknownNameError, match="'meen' does not exist; did you mean mean"):
        make_pool("meen")
