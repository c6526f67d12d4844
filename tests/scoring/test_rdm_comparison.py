"""Comparison of RDMs against SciPy and counting; the noise ceiling and the bootstrap against what they promise."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr, spearmanr

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.core.seeds import generator
from voxelcast.scoring.rdm_comparison import (
    COMPARISONS,
    bootstrap_rdms,
    compare_rdms,
    permute_rdms,
    rdm_noise_ceiling,
    rdm_p_values,
)


def _rdms(n_stimuli: int, n_rdms: int, noise: float, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n_stimuli * (n_stimuli - 1) // 2)
    return truth, truth + noise * rng.standard_normal((n_rdms, len(truth)))


def _tau_a(x: FloatArray, y: FloatArray) -> float:
    signs = [np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i, j in combinations(range(len(x)), 2)]
    return float(np.mean(signs))


def test_equal_scipy_and_counting() -> None:
    rng = np.random.default_rng(0)
    models, measured = rng.integers(0, 4, (3, 15)).astype(float), rng.standard_normal((2, 15)).round(1)
    expected = {
        "spearman": [[spearmanr(m, s).statistic for s in measured] for m in models],
        "pearson": [[pearsonr(m, s).statistic for s in measured] for m in models],
        "kendall_tau_a": [[_tau_a(m, s) for s in measured] for m in models],
    }
    for method in COMPARISONS:
        np.testing.assert_allclose(compare_rdms(models, measured, method), expected[method], atol=1e-12)
        assert np.isnan(compare_rdms(np.ones((1, 15)), measured, method)).all()


@pytest.mark.parametrize("method", COMPARISONS)
def test_ceiling_equals_the_loop_and_bounds_the_truth(method: str) -> None:
    truth, measured = _rdms(20, 5, 0.4)
    ranks = measured.argsort(axis=1).argsort(axis=1).astype(float)
    z = ranks if method != "pearson" else (measured - measured.mean(axis=1)[:, None]) / measured.std(axis=1)[:, None]
    everyone = z.mean(axis=0)[None]
    lower, upper = rdm_noise_ceiling(measured, method)
    assert upper == pytest.approx(np.mean([compare_rdms(everyone, m[None], method) for m in measured]), abs=1e-12)
    left_out = [compare_rdms(np.delete(z, k, axis=0).mean(axis=0)[None], measured[k][None], method) for k in range(5)]
    assert lower == pytest.approx(np.mean(left_out), abs=1e-12)
    assert lower < compare_rdms(truth[None], measured, method).mean() < upper


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_nothing_exceeds_the_upper_bound(method: str) -> None:
    _, measured = _rdms(10, 4, 0.5)
    upper = rdm_noise_ceiling(measured, method)[1]
    rng = np.random.default_rng(1)
    tried = measured.mean(axis=0) + rng.standard_normal((2000, 45)) * rng.random((2000, 1)) * 0.3
    assert compare_rdms(np.concatenate([tried, measured]), measured, method).mean(axis=1).max() <= upper + 1e-12


def test_bounds_close_in_with_more_subjects() -> None:
    truth, measured = _rdms(20, 60, 0.4)
    width = [np.diff(rdm_noise_ceiling(measured[:k]))[0] for k in (3, 10, 60)]
    assert width[0] > 2 * width[1] > 4 * width[2]
    lower, upper = rdm_noise_ceiling(measured)
    assert compare_rdms(truth[None], measured).mean() == pytest.approx((lower + upper) / 2, abs=0.01)


@pytest.mark.parametrize("subjects", [False, True])
def test_bootstrap_equals_explicit_resampling(subjects: bool) -> None:
    truth, measured = _rdms(8, 3, 0.3)
    models = np.stack([truth, -truth])
    scores = bootstrap_rdms(models, measured, n_resamples=6, seed=4, subjects=subjects)
    rng = generator(4, "bootstrap", "rdm")
    for resample in range(6):
        drawn = rng.integers(0, 8, 8)
        people = rng.integers(0, 3, 3) if subjects else range(3)
        kept = [(a, b) for a, b in combinations(drawn, 2) if a != b]
        for k, model in enumerate(models):
            x = [squareform(model)[a, b] for a, b in kept]
            each = [spearmanr(x, [squareform(measured[s])[a, b] for a, b in kept]).statistic for s in people]
            assert scores[resample, k] == pytest.approx(np.mean(each), abs=1e-12)


def test_bootstrap_interval_holds_the_score_and_narrows() -> None:
    widths = []
    for n_stimuli in (10, 40):
        truth, measured = _rdms(n_stimuli, 4, 0.5)
        scores = bootstrap_rdms(truth[None], measured, n_resamples=200)[:, 0]
        low, high = np.quantile(scores, [0.025, 0.975])
        assert low < compare_rdms(truth[None], measured).mean() < high
        widths.append(high - low)
    assert widths[0] > 2 * widths[1]
    np.testing.assert_array_equal(bootstrap_rdms(truth[None], measured, n_resamples=200)[:, 0], scores)


@pytest.mark.parametrize("method", COMPARISONS)
def test_permutations_equal_explicit_shuffling(method: str) -> None:
    truth, measured = _rdms(8, 3, 0.3)
    models = np.stack([truth, -truth])
    permuted = permute_rdms(models, measured, method, 4, seed=2)
    rng = generator(2, "permutation", "rdm")
    for scores in permuted:
        order = rng.permutation(8)
        shuffled = np.stack([squareform(squareform(rdm)[np.ix_(order, order)]) for rdm in measured])
        np.testing.assert_allclose(scores, compare_rdms(models, shuffled, method).mean(axis=1), atol=1e-12)


def test_p_values_by_hand() -> None:
    permuted = np.array([[0.1, 0.2], [0.3, 0.1], [0.2, 0.4], [-0.1, 0.0]])
    p, p_best = rdm_p_values(np.array([0.2, 0.5]), permuted)
    np.testing.assert_array_equal(p, [3 / 5, 1 / 5])
    np.testing.assert_array_equal(p_best, [4 / 5, 1 / 5])
    assert np.isnan(rdm_p_values(np.array([np.nan, 0.5]), permuted)[0]).tolist() == [True, False]


def _p_values_of_noise(n_draws: int) -> FloatArray:
    """Return p and p_best of the best of three layers, (n_draws, 2, 3); patterns are those of unrelated stimuli."""
    found = []
    for draw in range(n_draws):
        rng = np.random.default_rng(draw)
        layers, subjects = (np.stack([pdist(rng.standard_normal((12, 5))) for _ in range(k)]) for k in (3, 2))
        scores = compare_rdms(layers, subjects).mean(axis=1)
        found.append(rdm_p_values(scores, permute_rdms(layers, subjects, n_permutations=199, seed=draw)))
    return np.array(found)


@pytest.mark.slow
def test_false_positives_of_the_permutation_test_are_as_many_as_it_says() -> None:
    p = _p_values_of_noise(2000)
    assert 0.04 <= (p[:, 0] <= 0.05).mean() <= 0.06
    assert 0.04 <= (p[:, 1].min(axis=1) <= 0.05).mean() <= 0.06


def test_refuses_bad_input() -> None:
    _, measured = _rdms(6, 2, 0.5)
    with pytest.raises(OptionError, match="kendall_tau_a"):
        compare_rdms(measured, measured, "kendall")
    with pytest.raises(ShapeError, match="n_pairs"):
        compare_rdms(measured[:, 1:], measured)
    with pytest.raises(DataError, match="at least 2 subjects"):
        rdm_noise_ceiling(measured[:1])
    with pytest.raises(DataError, match="same dissimilarity"):
        rdm_noise_ceiling(np.ones((2, 15)))
    with pytest.raises(OptionError, match="n_permutations"):
        permute_rdms(measured, measured, n_permutations=0)
    with pytest.raises(OptionError, match="n_resamples"):
        bootstrap_rdms(measured, measured, n_resamples=0)
    measured[0, 0] = np.nan
    with pytest.raises(DataError, match="finite"):
        compare_rdms(measured, measured)
