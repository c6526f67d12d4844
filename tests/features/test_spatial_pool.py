from __future__ import annotations

import numpy as np
import pytest
import torch

from voxelcast.core.errors import OptionError, ShapeError
from voxelcast.features.spatial_pool import pool_spatially


@pytest.mark.parametrize("grid", [1, 2, 3, 7, 9])
@pytest.mark.parametrize(("height", "width"), [(7, 7), (6, 12), (5, 3)])
def test_a_grid_is_torchs_adaptive_average(grid, height, width):
    chunk = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.adaptive_avg_pool2d(chunk.double(), grid).numpy()
    for pooled in (pool_spatially(chunk, f"grid({grid})"), pool_spatially(chunk.numpy(), f"grid({grid})")):
        assert tuple(pooled.shape) == (2, 3, grid, grid)
        assert pooled.dtype == (torch.float32 if isinstance(pooled, torch.Tensor) else np.float32)
        np.testing.assert_allclose(np.asarray(pooled), expected, atol=1e-6)


def test_the_mean():
    chunk = np.random.default_rng(0).standard_normal((4, 2, 5, 6))
    np.testing.assert_allclose(pool_spatially(chunk, "mean")[:, :, 0, 0], chunk.mean((2, 3)))


def test_a_pyramid_is_its_grids_one_after_the_other():
    chunk = np.random.default_rng(0).standard_normal((4, 2, 7, 6)).astype(np.float32)
    grids = [pool_spatially(chunk, f"grid({k})").reshape(4, 2, -1) for k in (1, 2, 4)]
    for kind in (chunk, torch.from_numpy(chunk)):
        pooled = pool_spatially(kind, "pyramid(1, 2,4)")
        assert tuple(pooled.shape) == (4, 2, 21)
        np.testing.assert_allclose(np.asarray(pooled), np.concatenate(grids, axis=2), atol=1e-6)


@pytest.mark.parametrize(("shape", "space"), [((4, 10), "grid(2)"), ((4, 2, 3, 3), "none"), ((4, 5, 6), "none")])
def test_what_is_left_as_it_is(shape, space):
    chunk = np.zeros(shape, np.float32)
    assert pool_spatially(chunk, space) is chunk


@pytest.mark.parametrize("space", ["grid(0)", "grid", "grid(2, 3)", "pyramid()", "pyramid(1, 0)", "mean(2)", ""])
def test_what_is_not_understood(space):
    with pytest.raises(OptionError, match="spatial_pool must be none, mean, grid"):
        pool_spatially(np.zeros((1, 1, 2, 2)), space)


def test_tokens_have_no_space():
    with pytest.raises(ShapeError, match=r"got \(4, 197, 192\)"):
        pool_spatially(np.zeros((4, 197, 192)), "grid(2)")
