"""Ceilings in units of variance against loops, scikit-learn-free formulas and simulations of known truth."""

from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.scoring.ceiling import split_half_ceiling_r
from voxelcast.scoring.variance import (
    explainable_variance,
    ncsnr,
    noise_ceiling_r2,
    repetition_counts,
    signal_and_noise_variance,
)


def _simulated(n: int, repetitions: int, q: int, signal: float, noise: float, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    shown = rng.standard_normal((n, 1, q)) * np.sqrt(signal)
    values: FloatArray = shown + rng.standard_normal((n, repetitions, q)) * np.sqrt(noise) + 100
    return values


def _with_gaps(values: FloatArray, seed: int = 1) -> FloatArray:
    """Leave stimulus i with 1 to all repetitions, and some with none, as recordings do."""
    values = values.copy()
    counts = np.random.default_rng(seed).integers(0, values.shape[1] + 1, len(values))
    for stimulus, count in enumerate(counts):
        values[stimulus, count:] = np.nan
    return values


def _brute(values: FloatArray) -> tuple[float, float]:
    """One voxel, values of shape (n_stimuli, n_repetitions): the textbook's sums, in loops."""
    shown = [row[np.isfinite(row)] for row in values if np.isfinite(row).any()]
    n, total = len(shown), sum(len(row) for row in shown)
    grand = sum(row.sum() for row in shown) / total
    noise = sum(((row - row.mean()) ** 2).sum() for row in shown) / (total - n)
    between = sum(len(row) * (row.mean() - grand) ** 2 for row in shown) / (n - 1)
    k0 = (total - sum(len(row) ** 2 for row in shown) / total) / (n - 1)
    return (between - noise) / k0, noise


@pytest.mark.parametrize("gaps", [False, True])
def test_variances_equal_the_loop(gaps: bool) -> None:
    values = _simulated(60, 4, 5, 2.0, 3.0)
    if gaps:
        values = _with_gaps(values)
    signal, noise = signal_and_noise_variance(values)
    expected = np.array([_brute(values[:, :, voxel]) for voxel in range(5)])
    np.testing.assert_allclose(signal, expected[:, 0], rtol=1e-10)
    np.testing.assert_allclose(noise, expected[:, 1], rtol=1e-10)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(("signal", "noise"), [(2.0, 3.0), (0.1, 1.0), (0.0, 1.0)])
def test_variances_are_unbiased(signal: float, noise: float, gaps: bool) -> None:
    # Few stimuli, many voxels: a bias of 1 / n_stimuli would show.
    values = _simulated(12, 3, 20_000, signal, noise)
    if gaps:
        values = _with_gaps(values, seed=3)
    found = signal_and_noise_variance(values)
    spread = (signal + noise) / np.sqrt(20_000)
    assert found[0].mean() == pytest.approx(signal, abs=6 * spread)
    assert found[1].mean() == pytest.approx(noise, abs=3 * spread)


def test_ncsnr_of_z_scored_responses_follows_the_natural_scenes_rule() -> None:
    values = _simulated(500, 3, 6, 0.5, 1.0)
    values = (values - values.mean(axis=(0, 1))) / values.std(axis=(0, 1))
    noise = values.var(axis=1, ddof=1).mean(axis=0)
    expected = np.sqrt(1 - noise) / np.sqrt(noise)
    np.testing.assert_allclose(ncsnr(values, total_variance=1.0), expected, rtol=1e-12)
    np.testing.assert_allclose(ncsnr(values), expected, rtol=0.01)


@pytest.mark.parametrize("gaps", [False, True])
def test_recovers_the_true_ceilings(gaps: bool) -> None:
    signal, noise = 0.3, 1.0
    values = _simulated(4000, 5, 30, signal, noise)
    if gaps:
        values = _with_gaps(values)
    assert ncsnr(values).mean() == pytest.approx(np.sqrt(signal / noise), abs=0.01)
    assert explainable_variance(values).mean() == pytest.approx(signal / (signal + noise), abs=0.01)
    counts = repetition_counts(values)
    shown = counts[:, 0] > 0
    per_mean = (1 / counts[shown, 0]).mean()
    ceiling = noise_ceiling_r2(ncsnr(values), counts)
    assert ceiling.mean() == pytest.approx(signal / (signal + noise * per_mean), abs=0.01)
    # It is what the noiseless response explains of the mean response.
    rng = np.random.default_rng(7)
    truth = rng.standard_normal(4000) * np.sqrt(signal)
    k = np.where(shown, counts[:, 0], 1)
    mean = truth + rng.standard_normal(4000) * np.sqrt(noise / k)
    assert ceiling.mean() == pytest.approx(np.corrcoef(truth[shown], mean[shown])[0, 1] ** 2, abs=0.03)


def test_agrees_with_the_split_half_ceiling() -> None:
    values = _simulated(3000, 10, 20, 0.1, 1.0)
    in_r2 = noise_ceiling_r2(ncsnr(values), 10)
    np.testing.assert_allclose(split_half_ceiling_r(values) ** 2, in_r2, atol=0.01)


def test_ceiling_of_varying_repetitions_is_the_published_formula() -> None:
    snr = np.array([0.2, 1.0])
    counts = np.repeat([3, 2, 1, 0], [50, 30, 20, 10])
    expected = snr**2 / (snr**2 + (50 / 3 + 30 / 2 + 20 / 1) / 100)
    np.testing.assert_allclose(noise_ceiling_r2(snr, counts), expected, rtol=1e-14)
    np.testing.assert_allclose(noise_ceiling_r2(snr, np.stack([counts, counts], axis=1)), expected, rtol=1e-14)
    np.testing.assert_allclose(noise_ceiling_r2(snr, 10), snr**2 / (snr**2 + 0.1), rtol=1e-14)
    np.testing.assert_array_equal(noise_ceiling_r2(np.array([0.0, np.inf]), 3), [0.0, 1.0])


def test_explainable_variance_is_the_bias_corrected_formula() -> None:
    values = _simulated(200, 4, 5, 1.0, 2.0)
    values -= values.mean(axis=0) - values.mean(axis=(0, 1))  # no effect of the repetition as such
    raw = values.mean(axis=1).var(axis=0, ddof=1) / values.var(axis=0, ddof=1).mean(axis=0)
    corrected = raw - (1 - raw) / 3
    # The two differ by the degrees of freedom of the repetitions' means alone: about 1 / n_stimuli.
    np.testing.assert_allclose(explainable_variance(values), corrected, atol=0.005)


def test_edges() -> None:
    values = _simulated(20, 3, 5, 1.0, 1.0)
    values[:, :, 0] = 7.0
    values[:, 1:, 1] = np.nan
    values[:, :, 2] = np.arange(20)[:, None]
    values[1:, :, 3] = np.nan
    with np.errstate(all="raise"):
        assert np.isnan(ncsnr(values)).tolist() == [True, True, False, True, False]
        assert np.isnan(explainable_variance(values)).tolist() == [True, True, False, True, False]
    assert ncsnr(values)[2] == np.inf
    assert explainable_variance(values)[2] == 1.0


def test_blocks_of_voxels_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    values = _with_gaps(_simulated(30, 3, 11, 1.0, 1.0))
    expected = signal_and_noise_variance(values)
    monkeypatch.setattr("voxelcast.scoring.variance._BLOCK_BYTES", 8 * 30 * 3 * 4)
    np.testing.assert_array_equal(signal_and_noise_variance(values), expected)


def test_real_responses_with_missing_repetitions(real_data: object) -> None:
    values = np.load(f"{real_data}/v4_macaque/responses_raw_210325.npy").transpose(1, 2, 0)
    signal, noise = signal_and_noise_variance(values)
    expected = np.array([_brute(values[:, :, voxel]) for voxel in range(50)])
    np.testing.assert_allclose(np.stack([signal, noise], axis=1), expected, rtol=1e-9)
    in_r2 = noise_ceiling_r2(ncsnr(values), repetition_counts(values))
    np.testing.assert_allclose(np.sqrt(in_r2), split_half_ceiling_r(values), atol=0.02)


def test_refuses_bad_input() -> None:
    with pytest.raises(ShapeError, match="n_repetitions"):
        ncsnr(np.ones((3, 4)))
    with pytest.raises(OptionError, match="total_variance"):
        ncsnr(np.ones((3, 4, 5)), total_variance=0)
    with pytest.raises(OptionError, match="repetitions"):
        noise_ceiling_r2(np.ones(3), 0)
    with pytest.raises(DataError, match="infinite"):
        explainable_variance(np.full((3, 4, 5), np.inf))
