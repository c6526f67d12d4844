"""Inference on runs of a time series: rotated in time, drawn whole."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from voxelcast.scoring.bootstrap import bootstrap_interval, bootstrap_scores
from voxelcast.scoring.correlation import fold_pearson_r
from voxelcast.scoring.permutation import Exchange, permutation_orders, permutation_p_values
from voxelcast.scoring.settings import IntervalSettings

RUNS = np.repeat(np.arange(6), 50)
NAMES = [f"run {run}" for run in RUNS]


def test_each_run_is_rotated_by_an_amount_of_its_own() -> None:
    orders = permutation_orders(Exchange(RUNS, NAMES, circular=True), 300, 1)
    assert (orders[0] == np.arange(300)).all()
    shifts = np.empty((300, 6), dtype=int)
    for run in range(6):
        part = orders[:, run == RUNS] - 50 * run
        shifts[:, run] = part[:, 0]
        assert (part == (np.arange(50) + shifts[:, run : run + 1]) % 50).all()
    assert all(len(set(column)) > 40 for column in shifts.T)
    assert abs(np.corrcoef(shifts[1:, 0], shifts[1:, 1])[0, 1]) < 0.2


def test_slow_noise_and_a_common_rhythm_give_no_false_positives() -> None:
    # Blocks at the same times in every run and noise that resembles its neighbours: shuffled volumes would fail.
    rng = np.random.default_rng(0)
    rhythm = np.tile(np.sin(2 * np.pi * np.arange(50) / 12), 6)[:, None]
    noise = np.concatenate([lfilter([1], [1, -0.8], rng.standard_normal((50, 2000)), axis=0) for _ in range(6)])
    P = np.repeat(rhythm, 2000, axis=1)
    p = permutation_p_values(noise, P, Exchange(RUNS, NAMES, circular=True), 400, cross_validated=False)
    assert 0.03 < (p < 0.05).mean() < 0.065
    shuffled = permutation_p_values(noise, P, Exchange(RUNS), 400, cross_validated=False)
    assert (shuffled < 0.05).mean() > 0.1
    driven, runs = noise[:, :50] + 2 * rhythm, Exchange(RUNS, NAMES, circular=True)
    found = permutation_p_values(driven, P[:, :50], runs, 400, cross_validated=False)
    assert (found < 0.01).all()


def test_bootstrap_draws_whole_runs_where_each_is_a_fold() -> None:
    rng = np.random.default_rng(0)
    P = rng.standard_normal((300, 5))
    Y = P * np.linspace(0.1, 1.5, 6)[RUNS][:, None] + rng.standard_normal((300, 5))
    means = bootstrap_scores(Y, P, RUNS, 2000, 0, NAMES)
    r = np.array([fold_pearson_r(Y[k == RUNS], P[k == RUNS], np.zeros(50, dtype=int)).mean() for k in range(6)])
    assert means.min() >= r.min()
    assert means.max() <= r.max()
    assert np.isclose(means.mean(), r.mean(), atol=0.01)
    assert np.isclose(means.std(), r.std() / np.sqrt(6), rtol=0.05)
    low, high = bootstrap_interval(Y, P, RUNS, IntervalSettings(500), groups=NAMES)
    assert low < r.mean() < high


def test_one_run_gives_no_interval() -> None:
    P = np.random.default_rng(0).standard_normal((50, 3))
    assert np.isnan(
        bootstrap_interval(P, P + 1, np.zeros(50, dtype=int), IntervalSettings(100), groups=["run"] * 50)
    ).all()
