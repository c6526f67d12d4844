"""The benchmarks at a small size: that they measure the same thing on both sides, not how long it takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

import voxelcast as vc
from benchmarks.encoders import ENCODERS, benchmark_encoders
from benchmarks.honesty import benchmark_honesty
from benchmarks.honesty.check import Check
from benchmarks.honesty.intervals import Cell, Population
from benchmarks.honesty.ridge import nested_ridge
from benchmarks.mini_track import MiniTrack, benchmark_mini_track, search_one, start_worker
from benchmarks.peers import WORKS, PeerRace, benchmark_peers
from benchmarks.permutation import benchmark_permutation
from benchmarks.pls import benchmark_pls
from benchmarks.reading import Reading, benchmark_reading
from benchmarks.readout import ReadoutTrack, benchmark_readout
from benchmarks.simulation import PairSize, TrackSize, simulate_features, simulate_responses
from benchmarks.whole_brain import benchmark_whole_brain
from voxelcast.core.errors import OptionError, UnknownNameError
from voxelcast.core.seeds import generator
from voxelcast.scoring.correlation import cross_validated_r, mean_pearson_r
from voxelcast.scoring.intervals import Judged, influence_weights, score_interval
from voxelcast.search.folds import make_folds

SMALL = TrackSize(n_train=200, n_test=10, n_layers=3, n_components=10, n_folds=5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_pls_scores_are_equal_by_the_same_definition() -> None:
    found = benchmark_pls(PairSize(120, 12, 20, 4), trials=6, compared=(1, 2, 3))
    assert found.score_difference < 1e-9
    assert found.race.default_margin >= -found.default_difference
    assert found.race.ratio == found.race.model.wall / found.race.ours.wall
    lines = found.lines()
    assert any(line.startswith("ratio: ") for line in lines)
    assert "120 stimuli, 12 features, 20 voxels, 4 folds" in lines[0]


@pytest.mark.slow
def test_mini_track_finds_the_true_layers_in_workers_as_in_this_process() -> None:
    counts = {"sub01": {"V1": 12, "EBA": 8}, "sub02": {"V1": 5}}
    track = MiniTrack(2, counts, replace(SMALL, n_layers=6), nested=True)
    result = benchmark_mini_track(track)
    assert [(pair.subject, pair.roi) for pair in result.pairs] == [("sub01", "V1"), ("sub01", "EBA"), ("sub02", "V1")]
    assert all(pair.layer == pair.true_layer for pair in result.pairs)
    assert all(30 < pair.peak_mb < 2000 for pair in result.pairs)
    assert result.peak_mb > max(pair.peak_mb for pair in result.pairs)  # with this process, whatever ran in it before
    assert "3 pairs" in result.lines()[0]
    start_worker(track)
    for pair in result.pairs:
        here = search_one(pair.subject, pair.roi, counts[pair.subject][pair.roi])
        assert (here.layer, here.selection_score, here.score) == (pair.layer, pair.selection_score, pair.score)


@pytest.mark.slow
def test_mini_track_in_outer_folds_of_their_own() -> None:
    found = benchmark_mini_track(MiniTrack(1, {"sub01": {"V1": 30}}, SMALL, n_outer=4))
    (pair,) = found.pairs
    assert pair.layer == pair.true_layer
    assert pair.score == pytest.approx(pair.selection_score, abs=0.1)
    assert "nested in 4 outer folds of their own" in found.lines()[0]
    with pytest.raises(OptionError, match="exclude each other"):
        MiniTrack(nested=True, n_outer=5)


def test_whole_brain_finds_the_true_layer_in_every_outer_fold() -> None:
    found = benchmark_whole_brain(600, SMALL)
    assert {choice.layer for choice in found.found.nested_choices} == {found.true_layer}
    assert found.found.predictions.shape == (10, 600)
    lines = found.lines()
    assert lines[0].startswith("600 voxels of one subject, 3 layers, pls, nested")
    assert "5 of 5 outer folds" in lines[-1]


def test_mini_track_needs_a_worker() -> None:
    with pytest.raises(OptionError, match="workers must be at least 1; got 0"):
        MiniTrack(workers=0)


def test_simulated_responses_have_the_stated_signal() -> None:
    X = simulate_features(20_000, 50, 0, 0)
    Y = simulate_responses(X, 100, 0)
    residual = Y - X @ np.linalg.lstsq(X, Y, rcond=None)[0]
    share = 1 - residual.var(axis=0) / Y.var(axis=0)
    assert share.min() > 0.005
    assert share.max() < 0.22
    # 40 percent of the noise variance is common: residuals of voxels are correlated, through ten latent variables.
    crossed = np.square(np.corrcoef(residual.T)[np.triu_indices(100, 1)]).mean()
    assert crossed == pytest.approx(0.4**2 / 10, rel=0.25)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_encoders_find_the_same_models_both_ways(encoder: str) -> None:
    found = benchmark_encoders(PairSize(80, 5, 6, 3), encoders=[encoder], trials=4)
    (race,) = found.races
    assert race.encoder == encoder
    assert len(race.proposals) == (3 if encoder == "cca" else 4)
    assert race.ratio == race.model.wall / race.ours.wall
    # Penalties lie between those of the list, and scikit-learn's tolerance is loose; the models are the same.
    assert race.default_margin > -0.02
    # By the same definition ours is at least as good: every model, or the penalty at the peak. (Of ols the reference
    # has a penalty.)
    assert race.margin > (-1e-8 if encoder in ("pls", "ridge", "omp") else -0.02)
    nearest = min(np.abs(candidate.fold_scores - race.best.fold_scores).max() for candidate in race.exact.candidates)
    assert nearest < 0.05
    lines = found.lines()
    assert "80 stimuli, 5 features, 6 voxels, 3 folds" in lines[0]
    assert lines[2].startswith(f"{encoder}: 4 proposals ")
    assert ("scaled up from 3" in lines[2]) == (encoder == "cca")


def test_encoders_without_a_counterpart_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="with a counterpart in scikit-learn"):
        benchmark_encoders(PairSize(), encoders=["mlp"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Solving banded ridge is slower:UserWarning")
def test_peers_predict_alike() -> None:
    lines = list(benchmark_peers(PeerRace(scale=0.03)))
    r: dict[str, list[float]] = {}
    for what, _, said in (line.partition(": ") for line in lines):
        if "held-out r" in said:
            r.setdefault(what, []).append(float(said.split()[-1]))
    assert sum("ratio to" in line for line in lines) == len(WORKS) - 1
    assert all(float(line.split("differ by at most ")[1].split(";")[0]) < 0.01 for line in lines if "float32" in line)
    assert all(max(each) - min(each) < 0.03 for each in r.values())
    assert any("same choice yes" in line for line in lines)


def test_permutation_counts_the_same_as_the_loop() -> None:
    found = benchmark_permutation(50, 30, 99, n_looped=7)
    assert found.same
    assert found.n_looped == 8
    assert any(line.startswith("ratio: ") for line in found.lines())
    with pytest.raises(OptionError, match="n_looped"):
        benchmark_permutation(50, 30, 9, n_looped=10)


def test_a_check_allows_for_the_error_of_its_draws() -> None:
    def check(measured: float, draws: int, error: float | None = None) -> bool:
        return Check("intervals", "cell", "claim", measured, 0.93, 0.97, draws, error).holds

    assert check(0.95, 20)
    assert check(0.90, 100)  # two standard errors below .93 are .879
    assert not check(0.87, 100)
    assert not check(0.90, 10_000)
    assert not check(float("nan"), 100)
    assert check(0.92, 100, error=0.01)
    assert not check(0.90, 100, error=0.01)


def test_honesty_draws_from_the_population_that_it_says() -> None:
    cell = Cell(60, voxels=40, signal=0.3, groups=20)
    X, Y, groups = Population(cell, np.random.default_rng(0)).draw(np.random.default_rng(1), 60_000)
    assert groups is not None
    assert len(set(groups)) == 20_000
    assert Y.var(axis=0) == pytest.approx(np.ones(40), abs=0.1)
    residual = Y - X @ np.linalg.lstsq(X, Y, rcond=None)[0]
    assert (1 - residual.var(axis=0) / Y.var(axis=0)).mean() == pytest.approx(0.3, abs=0.01)
    of_groups = np.stack([X[k::3] for k in range(3)])  # three stimuli a group share half of the variance
    assert np.corrcoef(of_groups[0].ravel(), of_groups[1].ravel())[0, 1] == pytest.approx(0.5, abs=0.01)
    with pytest.raises(OptionError, match="draws must be at least 20; got 3"):
        list(benchmark_honesty(["intervals"], draws=3))
    with pytest.raises(OptionError, match="section must be one of intervals"):
        list(benchmark_honesty(["interval"]))


@pytest.mark.parametrize("cell", [Cell(60, 5, 40), Cell(60, 5, 40, groups=20), Cell(60, 5, 40, tails=5)], ids=str)
def test_what_models_reach_in_closed_form_is_what_they_reach_on_new_stimuli(cell: Cell) -> None:
    rng = np.random.default_rng(2)
    population = Population(cell, rng)
    coefficients = population.weights + 0.1 * rng.standard_normal(population.weights.shape)
    coefficients[:, 3] = 0  # knows only the mean
    X, Y, _ = population.draw(rng, 60_000)
    for noise in (0.0, 1.0):
        predicted = (X + noise * rng.standard_normal(X.shape)) @ coefficients + 2
        assert population.reached(coefficients, noise) == pytest.approx(mean_pearson_r(Y, predicted), abs=0.003)


def test_folds_fitted_as_one_are_those_of_evaluate() -> None:
    for n, n_folds, voxels, signal in ((100, 5, 8, 0.3), (60, 10, 30, 0.1), (60, 5, 8, 0.7)):
        X, Y, _ = Population(Cell(n, n_folds, voxels, signal), generator(0)).draw(generator(1), n)
        folds = make_folds(n, n_folds, 0)
        found = nested_ridge(X, Y, folds)
        judged = Judged(folds)
        inner = found.inner(influence_weights(Y, found.predicted, judged))
        scores = vc.evaluate(vc.FeatureSpace(X, compression=None), Y, folds=folds)
        ours = score_interval(Y, found.predicted, judged, inner=inner)
        attrs = scores.attrs
        assert cross_validated_r(Y, found.predicted, folds).mean() == pytest.approx(attrs["score"], abs=0.003)
        assert (ours.low, ours.high) == pytest.approx((attrs["score_low"], attrs["score_high"]), abs=0.003)
        held = folds == 0
        assert np.ptp(found.predicted[held] - X[held] @ found.coefficients[0], axis=0).max() < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("plain", ["nibabel", "stream"])
def test_reading_has_both_sides(plain: Literal["nibabel", "stream"]) -> None:
    reading = Reading(maps=20, shape=(9, 8, 7), rois=(1, 2), voxels=5, rounds=1, plain=plain)
    result = benchmark_reading(reading)
    assert set(result.ours) == {1, 2}
    assert result.ratio(2) == result.ours[2].cpu / result.plain.cpu
    assert result.lines()[0].startswith("20 volumes of 9 x 8 x 7 int16")
    assert [line.split(":")[0] for line in result.lines()[2:]] == ["1 ROI of 5 voxels", "2 ROI of 5 voxels"]


def test_readouts_train_as_often_as_there_are_folds() -> None:
    found = benchmark_readout(ReadoutTrack(40, 5, 3, 2, ((4, 3, 3),)))
    assert len(found.seconds) == 4
    assert found.n_steps == 2
    assert found.limit > 0
    assert "4 trainings measured" in found.lines()[2]
    assert len(benchmark_readout(ReadoutTrack(40, 5, 3, 1, ((4, 3, 3),)), trainings=1).seconds) == 1
