from __future__ import annotations

import numpy as np
import pytest
import torch

from voxelcast.core.errors import OptionError, ShapeError
from voxelcast.features.space import pool_space


@pytest.mark.parametrize("grid", [1, 2, 3, 7, 9])
@pytest.mark.parametrize(("height", "width"), [(7, 7), (6, 12), (5, 3)])
def test_a_grid_is_torchs_adaptive_average(grid, height, width):
    chunk = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.adaptive_avg_pool2d(chunk.double(), grid).numpy()
    for pooled in (pool_space(chunk, grid), pool_space(chunk.numpy(), grid)):
        assert tuple(pooled.shape) == (2, 3, grid, grid)
        assert pooled.dtype == (torch.float32 if isinstance(pooled, torch.Tensor) else np.float32)
        np.testing.assert_allclose(np.asarray(pooled), expected, atol=1e-6)


def test_a_grid_of_one_is_the_mean():
    chunk = np.random.default_rng(0).standard_normal((4, 2, 5, 6))
    np.testing.assert_allclose(pool_space(chunk, 1)[:, :, 0, 0], chunk.mean((2, 3)))


@pytest.mark.parametrize(("shape", "grid"), [((4, 10), 2), ((4, 2, 3, 3), None), ((4, 5, 6), None)])
def test_what_is_left_as_it_is(shape, grid):
    chunk = np.zeros(shape, np.float32)
    assert pool_space(chunk, grid) is chunk


def test_what_cannot_be_pooled():
    with pytest.raises(OptionError, match="at least 1 cell per side; got 0"):
        pool_space(np.zeros((1, 1, 2, 2)), 0)
    with pytest.raises(ShapeError, match=r"got \(4, 197, 192\)"):
        pool_space(np.zeros((4, 197, 192)), 2)
