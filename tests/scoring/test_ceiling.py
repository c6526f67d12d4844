"""Noise ceilings against brute force and against simulations of known truth."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import comb

import numpy as np
import pytest

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.scoring.ceiling import (
    half_splits,
    mean_noise_ceiling_r,
    noise_ceiling_r,
    noise_normalised_r,
    normalised_mean,
    reliability,
    split_half_ceiling_r,
)


def _simulated(n: int, repetitions: int, q: int, snr: float, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    values: FloatArray = rng.standard_normal((n, 1, q)) * np.sqrt(snr) + rng.standard_normal((n, repetitions, q)) + 10
    return values


def _with_ceilings(n: int, repetitions: int, ceilings: FloatArray, seed: int) -> tuple[FloatArray, FloatArray]:
    """Return the signal (n, q) and responses whose mean over repetitions a perfect model correlates with so highly."""
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((n, len(ceilings))) * ceilings
    noise = rng.standard_normal((n, repetitions, len(ceilings))) * np.sqrt(repetitions * (1 - ceilings**2))
    return signal, signal[:, None] + noise


def _mean_share(n: int, repetitions: int, ceiling: float, n_draws: int, seed: int = 0) -> FloatArray:
    return reliability(_with_ceilings(n, repetitions, np.full(n_draws, ceiling), seed)[1]).share


@pytest.mark.parametrize("repetitions", [2, 3, 4, 5, 7])
def test_is_the_mean_over_all_splits(repetitions: int) -> None:
    # Of unequal halves too: their covariance, lengthened to all repetitions, over the variance of the mean.
    values = _simulated(40, repetitions, 5, 0.7)
    shares = []
    for size in range(1, repetitions):
        for first in combinations(range(repetitions), size):
            second = [k for k in range(repetitions) if k not in first]
            a, b = values[:, list(first)].mean(axis=1), values[:, second].mean(axis=1)
            covariance = ((a - a.mean(axis=0)) * (b - b.mean(axis=0))).sum(axis=0) / 39
            shares.append(covariance / values.mean(axis=1).var(axis=0, ddof=1))
    left = (1 - np.mean(shares, axis=0)) * 37 / 39
    np.testing.assert_allclose(reliability(values).share, 1 - left, rtol=1e-10)


def test_missing_repetitions_equal_least_squares() -> None:
    values = _simulated(12, 4, 3, 0.7)
    values[np.random.default_rng(1).random(values.shape) < 0.3] = np.nan
    for voxel in range(3):
        y = values[:, :, voxel]
        stimulus, repetition = np.nonzero(~np.isnan(y))
        shown = np.unique(stimulus)
        design = np.concatenate([stimulus[:, None] == shown, repetition[:, None] == np.arange(4)], axis=1).astype(float)
        fit, _, rank, _ = np.linalg.lstsq(design, y[stimulus, repetition], rcond=None)
        error = ((y[stimulus, repetition] - design @ fit) ** 2).sum() / (len(stimulus) - rank)
        k = np.bincount(stimulus)[shown]
        drift = np.array([fit[len(shown) :][repetition[stimulus == one]].mean() for one in shown])
        noise = error * (1 / k).mean() + drift.var(ddof=1)
        n = len(shown)
        share = 1 - (n - 3) / (n - 1) * noise / np.nanmean(y[shown], axis=1).var(ddof=1)
        assert reliability(values).share[voxel] == pytest.approx(share, rel=1e-9)


# Three Monte Carlo errors of 10,000 voxels: with 8 stimuli the estimate varies by about 1.
@pytest.mark.parametrize(("n", "error"), [(8, 0.035), (20, 0.014), (60, 0.008), (200, 0.005)])
@pytest.mark.parametrize("repetitions", [2, 3, 5, 10])
@pytest.mark.parametrize("ceiling", [0.0, 0.5, 0.9])
@pytest.mark.slow
def test_is_unbiased_and_in_range(n: int, error: float, repetitions: int, ceiling: float) -> None:
    shares = np.concatenate([_mean_share(n, repetitions, ceiling, 2000, seed) for seed in range(5)])
    assert shares.mean() == pytest.approx(ceiling**2, abs=error)
    values = _with_ceilings(n, repetitions, np.full(2000, ceiling), 3)[1]
    found = noise_ceiling_r(values)
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("repetitions", [2, 3, 4, 5, 9])
def test_noise_alone_stays_in_range(repetitions: int) -> None:
    values = np.random.default_rng(0).standard_normal((8, repetitions, 3000))
    for ceiling in (noise_ceiling_r(values), split_half_ceiling_r(values)):
        assert ceiling.min() == 0
        assert ceiling.max() <= 1


def test_standard_error_is_the_spread_of_estimates() -> None:
    for n, repetitions, seed in ((60, 3, 0), (200, 2, 1)):
        found = reliability(_with_ceilings(n, repetitions, np.full(4000, 0.5), seed)[1])
        assert np.sqrt((found.se**2).mean()) == pytest.approx(found.share.std(), rel=0.08)


def test_describes_every_stimulus_of_the_score() -> None:
    # Half of the stimuli shown once, half ten times: sqrt(.25 / (.25 + .55)) can be reached.
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((2000, 1, 40)) / 2
    values = signal + rng.standard_normal((2000, 10, 40))
    values[:1000, 1:] = np.nan
    reached = np.mean([np.corrcoef(signal[:, 0, v], np.nanmean(values[:, :, v], axis=1))[0, 1] for v in range(40)])
    assert noise_ceiling_r(values).mean() == pytest.approx(np.sqrt(0.25 / 0.8), abs=0.006)
    assert noise_ceiling_r(values).mean() == pytest.approx(reached, abs=0.006)


@pytest.mark.parametrize("gaps", [False, True])
def test_drift_is_noise_only_where_the_score_has_it(gaps: bool) -> None:
    rng = np.random.default_rng(2)
    signal = rng.standard_normal((1000, 1, 30)) / 2
    steady = signal + rng.standard_normal((1000, 6, 30))
    values = steady + np.linspace(-2, 2, 6)[None, :, None]
    if gaps:
        values[:, 1:][rng.random((1000, 5, 30)) < 0.4] = np.nan
    reached = np.mean([np.corrcoef(signal[:, 0, v], np.nanmean(values[:, :, v], axis=1))[0, 1] for v in range(30)])
    found = reliability(values)
    assert found.ceiling_r.mean() == pytest.approx(reached, abs=0.015)
    assert np.sqrt(np.maximum(found.share_with_drift, 0)).mean() < reached - 0.15
    assert found.drift().startswith("Responses of 30 of 30 voxels drift over repetitions.")
    assert reliability(steady).drift() == ""


def test_drift_is_rarely_found_where_there_is_none() -> None:
    found = [reliability(_simulated(20, 2, 50, 0.5, seed)).drift() != "" for seed in range(200)]
    assert np.mean(found) < 0.06


@pytest.mark.parametrize("repetitions", [2, 3])
@pytest.mark.parametrize("spread", [0.0, 0.4])
def test_perfect_model_scores_one(repetitions: int, spread: float) -> None:
    ratios, clipped = [], []
    for seed in range(60):
        ceilings = np.random.default_rng(seed).uniform(0.5 - spread, 0.5 + spread, 40)
        signal, values = _with_ceilings(40, repetitions, ceilings, seed)
        r = np.array([np.corrcoef(signal[:, v], values[:, :, v].mean(axis=1))[0, 1] for v in range(40)])
        found = reliability(values)
        ceiling, normalised = normalised_mean(r, found.share, found.se)
        assert normalised == pytest.approx(r.mean() / ceiling)
        ratios.append((r.mean(), ceiling))
        clipped.append(found.ceiling_r.mean())
    scores, ceilings = np.mean(ratios, axis=0)
    assert scores / ceilings == pytest.approx(1, abs=0.03)
    assert ceilings == pytest.approx(0.5, abs=0.02)


def test_mean_ceiling_of_known_reliabilities() -> None:
    shares = np.linspace(0, 1, 2001)
    assert mean_noise_ceiling_r(shares, np.zeros(2001)) == pytest.approx(2 / 3, abs=1e-3)  # uniform: mean of sqrt(x)
    assert mean_noise_ceiling_r(np.full(5, 0.25), np.zeros(5)) == 0.5
    assert mean_noise_ceiling_r(np.array([0.25, np.nan]), np.array([0.1, np.nan])) == 0.5
    assert mean_noise_ceiling_r(np.array([-0.3, 0.1]), np.array([0.2, 0.2])) == 0.0
    assert np.isnan(mean_noise_ceiling_r(np.full(2, np.nan), np.ones(2)))


def test_single_voxels_are_normalised_where_their_ceiling_is_clear() -> None:
    signal, values = _with_ceilings(200, 3, np.repeat([0.0, 0.7], 500), 0)
    found = reliability(values)
    r = np.full(1000, 0.35)
    normalised = noise_normalised_r(r, found.share, found.se)
    given = np.isfinite(normalised)
    assert given[:500].mean() < 0.03
    assert given[500:].mean() > 0.95
    np.testing.assert_allclose(normalised[given], 0.35 / found.ceiling_r[given])
    assert normalised[500:][given[500:]].mean() == pytest.approx(0.5, abs=0.02)
    np.testing.assert_array_equal(noise_normalised_r(np.ones(2), np.array([1.0, np.nan]), np.zeros(2)), [1.0, np.nan])
    assert signal.shape == (200, 1000)


def test_real_responses_with_missing_repetitions(real_data: object) -> None:
    values = np.load(f"{real_data}/v4_macaque/responses_raw_210325.npy").transpose(1, 2, 0)
    found = reliability(values)
    np.testing.assert_allclose(found.ceiling_r, split_half_ceiling_r(values, max_splits=20), atol=0.03)
    assert found.drift() == ""


def _brute(values: FloatArray) -> FloatArray:
    """Loop over ordered pairs of disjoint halves and voxels, with the means over what is present."""
    _, repetitions, q = values.shape
    h = repetitions // 2
    factor = repetitions / h
    ceiling = np.full(q, np.nan)
    for voxel in range(q):
        rs = []
        for first in combinations(range(repetitions), h):
            rest = [k for k in range(repetitions) if k not in first]
            for second in combinations(rest, h):
                halves = np.stack([np.nanmean(values[:, list(half), voxel], axis=1) for half in (first, second)])
                rs.append(np.corrcoef(halves[:, np.isfinite(halves).all(axis=0)])[0, 1])
        r = np.array(rs)
        lengthened = [factor * x / (1 + (factor - 1) * x) for x in (r, r.mean())]
        ceiling[voxel] = np.sqrt(max(np.mean(lengthened[repetitions % 2]), 0))
    return ceiling


@pytest.mark.parametrize("repetitions", [2, 3, 4, 5, 6, 10])
def test_split_halves_equal_brute_force(repetitions: int) -> None:
    values = _simulated(40, repetitions, 5, 0.7)
    np.testing.assert_allclose(split_half_ceiling_r(values), _brute(values), atol=1e-12)


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_split_halves_with_missing_repetitions_equal_brute_force() -> None:
    values = _simulated(40, 4, 5, 0.7)
    values[np.random.default_rng(1).random(values.shape) < 0.3] = np.nan
    np.testing.assert_allclose(split_half_ceiling_r(values), _brute(values), atol=1e-12)


@pytest.mark.parametrize(("repetitions", "snr"), [(2, 1.0), (3, 0.3), (5, 0.2), (10, 0.1)])
def test_recovers_the_true_ceiling(repetitions: int, snr: float) -> None:
    # The correlation of the noiseless response with the mean of R repetitions is sqrt(snr / (snr + 1 / R)).
    values = _simulated(4000, repetitions, 20, snr)
    for ceiling in (noise_ceiling_r(values), split_half_ceiling_r(values)):
        assert ceiling.mean() == pytest.approx(np.sqrt(snr / (snr + 1 / repetitions)), abs=0.01)


@pytest.mark.parametrize("repetitions", [2, 3, 4, 5, 7, 10])
def test_splits_are_all_there_once(repetitions: int) -> None:
    h = repetitions // 2
    splits = half_splits(repetitions, 10_000)
    assert len({frozenset([frozenset(a.tolist()), frozenset(b.tolist())]) for a, b in splits}) == len(splits)
    assert len(splits) == comb(repetitions, 2 * h) * comb(2 * h, h) // 2
    assert all(len(a) == len(b) == h and not set(a.tolist()) & set(b.tolist()) for a, b in splits)


def test_ten_repetitions_have_126_splits() -> None:
    assert len(half_splits(10, 200)) == 126


def test_sampled_splits_are_distinct_seeded_and_close_to_all() -> None:
    splits = half_splits(10, 30, seed=4)
    assert len({frozenset([frozenset(a.tolist()), frozenset(b.tolist())]) for a, b in splits}) == 30
    values = _simulated(300, 10, 8, 0.3)
    sampled = split_half_ceiling_r(values, max_splits=30, seed=4)
    np.testing.assert_array_equal(sampled, split_half_ceiling_r(values, max_splits=30, seed=4))
    assert not np.array_equal(sampled, split_half_ceiling_r(values, max_splits=30, seed=5))
    np.testing.assert_allclose(sampled, split_half_ceiling_r(values), atol=0.02)


@pytest.mark.parametrize("estimate", [noise_ceiling_r, split_half_ceiling_r])
def test_edges(estimate: Callable[[FloatArray], FloatArray]) -> None:
    values = _simulated(50, 2, 4, 1.0)
    values[:, 1, 0] = -values[:, 0, 0] / 2
    values[:, :, 1] = 0.1
    values[:, 1, 3] = values[:, 0, 3]
    with np.errstate(all="raise"):
        ceiling = estimate(values)
        assert ceiling[0] == 0
        assert np.isnan(ceiling[1])
        assert 0 < ceiling[2] <= 1
        assert ceiling[3] == pytest.approx(1)
        assert np.isnan(estimate(values[:, :1])).all()
        missing = values.copy()
        missing[:, 1] = np.nan
        assert np.isnan(estimate(missing)).all()


def test_few_stimuli_and_no_error() -> None:
    values = _simulated(4, 3, 2, 1.0)
    assert np.isfinite(noise_ceiling_r(values)).all()
    assert np.isnan(noise_ceiling_r(values[:3])).all()
    values[3, :, 0] = np.nan  # three stimuli are left in this voxel
    assert np.isnan(noise_ceiling_r(values)).tolist() == [True, False]
    exact = reliability(np.repeat(_simulated(30, 1, 2, 1.0), 3, axis=1))
    np.testing.assert_array_equal(exact.share, [1.0, 1.0])
    np.testing.assert_array_equal(exact.se, [0.0, 0.0])
    assert exact.drift() == ""


@pytest.mark.parametrize("gaps", [False, True])
def test_blocks_of_voxels_and_offsets_do_not_matter(monkeypatch: pytest.MonkeyPatch, gaps: bool) -> None:
    values = _simulated(30, 3, 11, 1.0)
    if gaps:
        values[::4, 2] = np.nan
    expected = noise_ceiling_r(values), split_half_ceiling_r(values)
    np.testing.assert_allclose(noise_ceiling_r(values * 3 + 1e6), expected[0], rtol=1e-6)
    monkeypatch.setattr("voxelcast.scoring.ceiling._BLOCK_BYTES", 8 * 30 * 3 * 4)
    np.testing.assert_allclose(noise_ceiling_r(values), expected[0], rtol=1e-12)
    np.testing.assert_array_equal(split_half_ceiling_r(values), expected[1])


def test_refuses_bad_input() -> None:
    for estimate in (noise_ceiling_r, split_half_ceiling_r):
        with pytest.raises(ShapeError, match="n_repetitions"):
            estimate(np.ones((3, 4)))
    with pytest.raises(OptionError, match="max_splits"):
        split_half_ceiling_r(np.ones((3, 4, 5)), max_splits=0)
    with pytest.raises(DataError, match="infinite"):
        noise_ceiling_r(np.full((5, 4, 5), np.inf))
