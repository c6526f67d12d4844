from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.integrate import quad

from voxelcast.core.errors import DataError, OptionError, UnknownNameError
from voxelcast.features.hrf import KERNELS, DoubleGamma
from voxelcast.features.pooling import make_pool


@pytest.mark.parametrize(("name", "seconds"), [("bold", 5.0), ("bold_2021_1", 0.57), ("bold_2021_2", 1.77)])
def test_kernels_are_largest_where_they_say(name, seconds):
    times = np.arange(0, 30, 0.001)
    assert times[KERNELS[name](times).argmax()] == pytest.approx(seconds, abs=0.02)


@pytest.mark.parametrize("kernel", [*KERNELS.values(), DoubleGamma(5, 12, 0.2, 0.9)])
@pytest.mark.parametrize("times", [[0, 0.5, 1.0, 1.5, 2.0, 2.5], [0, 0.1, 0.9, 1.0, 2.2]], ids=["steady", "variable"])
def test_weights_are_those_of_a_convolution_on_a_fine_grid(kernel, times):
    """Hold each frame, convolve with the kernel, and average over the clip."""
    times = np.array(times)
    end = times[-1] + times[-1] - times[-2]
    step = 0.001
    grid = np.arange(step / 2, end, step)
    shown = np.searchsorted(times, grid, side="right") - 1
    response = np.cumsum(kernel(grid)) * step
    expected = np.array([response[::-1][shown == k].sum() for k in range(len(times))])
    np.testing.assert_allclose(kernel.frame_weights(times), expected / expected.sum(), atol=2e-3)


def test_weights_against_quadrature():
    kernel, times = DoubleGamma(), np.array([0.0, 2.0, 5.0, 9.0])
    edges = [0.0, 2.0, 5.0, 9.0, 13.0]
    parts = [
        quad(lambda u: quad(lambda t: float(kernel(np.array(t))), 0, 13 - u)[0], a, b)[0]
        for a, b in itertools.pairwise(edges)
    ]
    np.testing.assert_allclose(kernel.frame_weights(times), np.array(parts) / sum(parts), rtol=1e-6)


def test_sampling_more_densely_changes_little_and_steady_activation_nothing():
    rates = []
    for n_frames in (30, 90):
        times = np.arange(n_frames) * 3 / n_frames
        pool = make_pool("bold")
        pool.update(np.stack([np.sin(times), np.full(n_frames, 7.0)], axis=1), times)
        rates.append(pool.result())
    np.testing.assert_allclose(rates[0], rates[1], atol=0.05)
    np.testing.assert_allclose([rate[1] for rate in rates], 7, rtol=1e-6)


def test_a_picture_is_itself():
    pool = make_pool("bold_2021_2")
    pool.update(np.array([[1.0, 2.0]]), np.zeros(1))
    np.testing.assert_array_equal(pool.result(), [1, 2])


def test_a_kernel_of_ones_own():
    activations, times = np.random.default_rng(0).standard_normal((6, 4)), np.arange(6) / 2
    pool = make_pool("bold(peak=5, under=12,ratio=0.2)")
    pool.update(activations, times)
    expected = DoubleGamma(5, 12, 0.2).frame_weights(times) @ activations.astype(np.float32)
    np.testing.assert_allclose(pool.result(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("bold(peak=20, under=10)", OptionError, "0 < peak < under.*got peak=20.0, under=10.0"),
        ("bold(ratio=1)", OptionError, "0 <= ratio < 1"),
        ("bold(peek=3)", OptionError, "must be one of peak, under, ratio, scale; got 'peek'"),
        ("bold(peak=soon)", OptionError, "peak of pool bold.* must be a number; got 'soon'"),
        ("bald", UnknownNameError, "did you mean bold"),
    ],
)
def test_kernels_that_cannot_be(name, error, message):
    with pytest.raises(error, match=message):
        make_pool(name)


def test_times_that_do_not_rise_and_clips_too_short():
    with pytest.raises(DataError, match="must be there and rise"):
        DoubleGamma().frame_weights(np.array([0.0, 0.5, 0.5]))
    with pytest.raises(DataError, match=r"ends before the BOLD kernel \(largest near 599 s\)"):
        DoubleGamma(600, 700).frame_weights(np.array([0.0, 1e-3]))
