"""Inference on runs of a time series: rotated in time."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from voxelcast.scoring.permutation import Exchange, permutation_orders, permutation_p_values

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
    p = permutation_p_values(noise, P, Exchange(RUNS, NAMES, circular=True), 400)
    assert 0.03 < (p < 0.05).mean() < 0.065
    shuffled = permutation_p_values(noise, P, Exchange(RUNS), 400)
    assert (shuffled < 0.05).mean() > 0.1
    driven, runs = noise[:, :50] + 2 * rhythm, Exchange(RUNS, NAMES, circular=True)
    found = permutation_p_values(driven, P[:, :50], runs, 400)
    assert (found < 0.01).all()
