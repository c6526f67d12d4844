from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxelcast.core.errors import DataError, ShapeError, UnknownNameError
from voxelcast.features.pooling import list_pools, make_pool


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


def test_mean_of_half_precision_tensors_is_summed_in_more():
    activations = torch.full((4096, 1), 1.001, dtype=torch.bfloat16)
    np.testing.assert_allclose(_pool("mean", activations, [7]), float(activations[0, 0]), rtol=1e-6)


def test_a_pool_without_frames_is_refused():
    with pytest.raises(DataError, match="at least one frame"):
        make_pool("mean").result()


def test_a_layer_that_changes_shape_is_refused():
    pool = make_pool("mean")
    pool.update(np.zeros((2, 3), np.float32), np.zeros(2))
    with pytest.raises(ShapeError, match=r"\(4,\) after \(3,\)"):
        pool.update(np.zeros((2, 4), np.float32), np.zeros(2))


def test_unknown_pool():
    with pytest.raises(UnknownNameError, match="'meen' does not exist; did you mean mean"):
        make_pool("meen")
