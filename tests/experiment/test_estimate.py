"""The estimate of an experiment's time: against counted fits, and what makes it grow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from tests.experiment.miniature import ENERGY, run, settings, write_dataset
from tests.search.spaces import Fixed, layer_names, search, simulated
from voxelcast.core.arrays import FloatArray
from voxelcast.core.cost import readable_bytes
from voxelcast.core.errors import DataError
from voxelcast.datasets.base import ResponseSet
from voxelcast.datasets.folder import FolderDataset
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.linear import LinearModel
from voxelcast.encoders.params import Distribution, Params, ProblemSize
from voxelcast.encoders.ridge import Ridge
from voxelcast.experiment import costs, fit_costs
from voxelcast.experiment.costs import Estimate
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning.stages import COMPRESS, FIT, READ
from voxelcast.experiment.run import estimate_experiment
from voxelcast.experiment.settings_file import parse_config
from voxelcast.experiment.writing_costs import MOST_DRAWN, n_figures
from voxelcast.features import pca
from voxelcast.report import panels
from voxelcast.report.figures import Panel
from voxelcast.report.page import MOST_PANELS
from voxelcast.search.folds import make_folds
from voxelcast.store.steps import StepStore

N_FOLDS, TRIALS, N_LAYERS = 4, 3, 3


class Counting(Encoder):
    """Ridge regression that counts its fits, each of which is said to take a second."""

    name = "counting"
    fits = 0

    def search_space(self, size: ProblemSize) -> dict[str, Distribution]:
        return {"relative_alpha": Distribution(1e-3, 1e3, log=True)}

    def fit(self, X: FloatArray, Y: FloatArray, setting: Params) -> LinearModel:
        Counting.fits += 1
        return Ridge().fit(X, Y, setting)

    def fit_seconds(self, size: ProblemSize, rate: float = 1e10) -> float:
        return 1.0


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    encoder = Counting()
    monkeypatch.setattr(fit_costs, "get_encoder", lambda *_: encoder)
    Counting.fits = 0
    return encoder


@pytest.mark.parametrize(
    ("changes", "at_most"),
    [
        ({}, False),
        ({"folds": {"n": N_FOLDS, "nested": False}}, False),
        ({"search": {"joint": True}}, False),
        ({"ensemble": {"method": "average", "top": 2}}, False),
        ({"ensemble": {"method": "stacking"}}, True),  # layers without a weight are not fitted
        ({"selection": {"per": "voxel"}}, True),  # voxels may choose alike
    ],
)
def test_fits_are_counted(changes: dict[str, Any], at_most: bool, counting: Counting, images: Path) -> None:
    searched = {"method": "random", "trials": TRIALS} | changes.get("search", {})
    plain = settings(images, encoders=["ridge"], folds={"n": N_FOLDS}) | changes | {"search": searched}
    config = parse_config(plain, "miniature")
    seconds = fit_costs.FitEstimate(config, 48, N_FOLDS, 20, (8,) * N_LAYERS, 1, 1e12).cost(0).seconds
    features, Y = simulated(48, 4, 8, 20, layers=N_LAYERS, noise=8.0)
    search(
        Y,
        [Fixed(X, name) for X, name in zip(features, layer_names(N_LAYERS), strict=True)],
        [counting],
        make_folds(48, N_FOLDS, 0),
        **searched,
        nested=config.folds.nested,
        selection=config.selection,
        ensemble=config.ensemble,
    )
    assert Counting.fits > 0
    assert seconds == pytest.approx(Counting.fits, rel=0.3 if at_most else 0.01)
    assert not at_most or seconds > Counting.fits


def _estimated(root: Path, output: Path, **changes: Any) -> Estimate:
    return estimate_experiment(parse_config(settings(root, **changes), "miniature"), output)


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two subjects, on a machine of known speed."""
    monkeypatch.setattr(costs, "_flops_per_second", lambda: 1e9)
    monkeypatch.setattr(costs, "_pace", lambda: 1.0)
    monkeypatch.setattr(costs, "_START", {})
    return write_dataset(tmp_path / "two", subjects=("ann", "bob"))


def test_repeats_multiply_time_and_disk(two: Path, tmp_path: Path) -> None:
    def of(repeats: int, fit: str) -> Estimate:
        compress = {"method": "pca", "components": 8, "fit": fit}
        return _estimated(two, tmp_path / "out", folds={"n": 4, "repeats": repeats}, compress=compress)

    once, thrice = of(1, "folds"), of(3, "folds")
    assert thrice.seconds[FIT] == pytest.approx(3 * once.seconds[FIT])
    assert thrice.seconds[COMPRESS] == pytest.approx(3 * once.seconds[COMPRESS])
    assert thrice.disk_bytes > once.disk_bytes
    shared = of(1, "once"), of(3, "once")
    assert shared[1].seconds[COMPRESS] == pytest.approx(shared[0].seconds[COMPRESS])
    assert shared[1].disk_bytes == pytest.approx(shared[0].disk_bytes)
    assert shared[1].seconds[FIT] == pytest.approx(3 * shared[0].seconds[FIT])


def _fit_seconds(two: Path, output: Path, ways: Sequence[dict[str, Any]]) -> list[float]:
    return [_estimated(two, output, **way).seconds[FIT] for way in ways]


@pytest.mark.parametrize(
    "ways",
    [
        [{}, {"ensemble": {"method": "average"}}, {"ensemble": {"method": "stacking"}}],
        [{"ensemble": {"method": "stacking", "per": "roi"}}, {"ensemble": {"method": "stacking"}}],
        [{}, {"share": {"components": 3}}],
        [{"folds": {"n": 4, "nested": False}}, {}, {"folds": {"n": 8}}],
        [
            {"encoders": ["mlp"], "search": {"method": "random"}},
            {"encoders": ["mlp"], "search": {"method": "random"}, "selection": {"per": "voxel"}},
        ],
        [
            {"search": {"method": "random"}},
            {"search": {"method": "bayes"}},
            {"search": {"method": "bayes", "sampler": "gp"}},
        ],
    ],
)
def test_what_takes_longer_is_said_to(ways: list[dict[str, Any]], two: Path, tmp_path: Path) -> None:
    seconds = _fit_seconds(two, tmp_path / "out", ways)
    assert seconds == sorted(set(seconds))


def test_the_proposals_of_a_joint_search_are_for_all_layers_and_encoders(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for scoring in ("_SCORED", "_SCORING"):  # as long in both
        monkeypatch.setattr(fit_costs, scoring, 0.0)
    ways = [{"search": {"method": "random", "trials": 40, "joint": joint}} for joint in (False, True)]
    alone, joint = _fit_seconds(two, tmp_path / "out", ways)
    assert alone == pytest.approx(4 * joint, rel=0.06)  # two layers, two encoders; what was chosen is fitted as often


def test_banded_ridge_counts_its_draws(two: Path, tmp_path: Path) -> None:
    ways: list[dict[str, Any]] = [
        {"encoders": ["ridge"], "ensemble": {"method": "banded_ridge", "draws": draws}} for draws in (0, 20, 40)
    ]
    even, drawn, more = _fit_seconds(two, tmp_path / "out", ways)
    assert (more - drawn) / (drawn - even) == pytest.approx(20 / 22)  # the two layers alone are tried as well


def test_slow_responses_are_announced(
    two: Path, tmp_path: Path, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of a second for each of two subjects, read by one worker."""
    read = FolderDataset.responses

    def slowly(self: FolderDataset, *arguments: Any) -> ResponseSet:
        time.sleep(0.25)
        return read(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(FolderDataset, "responses", slowly)
        found = _estimated(two, tmp_path / "out")
    assert found.seconds[READ] == pytest.approx(0.5, abs=0.2)
    assert "(reading responses " in found.lines()[1]
    run(settings(two), tmp_path / "out")
    assert _estimated(two, tmp_path / "out").seconds[READ] == 0


def test_responses_that_cannot_be_read_are_left_to_the_run(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> ResponseSet:
        raise DataError("nothing to read")

    monkeypatch.setattr(FolderDataset, "responses", refuse)
    assert _estimated(two, tmp_path / "out").seconds[READ] == 0


@pytest.mark.parametrize("nested", [True, False])
def test_eigenvectors_and_figures_are_counted(
    nested: bool, two: Path, tmp_path: Path, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cubes of the training sets, of so many layers, and figures, counted as they are made, whatever the machine."""
    sizes, drawn, decompose = list[int](), list[str](), pca.largest_eigenpairs

    def counted(matrix: FloatArray, *rest: Any) -> tuple[FloatArray, FloatArray]:
        sizes.append(len(matrix))
        return decompose(matrix, *rest)

    monkeypatch.setattr(pca, "largest_eigenpairs", counted)
    draw = panels.inline

    def inline(figure: Figure, title: str, *rest: Any) -> Panel:
        drawn.append(title)
        return draw(figure, title, *rest)

    monkeypatch.setattr(panels, "inline", inline)
    wide = {"networks": [{"name": ENERGY, "layers": ["static.3", "static.4"]}], "folds": {"n": 4, "nested": nested}}
    plain = settings(two, **wide)
    run(plain, tmp_path / "out")
    plan = Plan(parse_config(plain, "miniature"), StepStore(tmp_path / "steps", read_only=True))
    assert len(drawn) == n_figures(plan)
    solved = costs.training_sets(plan) * 2 * len(plan.dataset.train_stimuli) ** 3
    assert solved == pytest.approx(sum(size**3 for size in sizes), rel=0.05)
    assert MOST_DRAWN == MOST_PANELS


def test_memory_grows_with_what_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "resident_mb", lambda: 200.0)

    def held(n_voxels: int, **changes: Any) -> int:
        root = tmp_path / str(n_voxels)
        if not root.exists():
            write_dataset(root, n_voxels=n_voxels)
        found = _estimated(root, tmp_path / "out", **changes)
        assert f"{readable_bytes(found.worker_bytes)} of memory at most in a worker" in found.lines()[1]
        return found.worker_bytes - 200_000_000

    few, many = held(5), held(20_000)
    assert 0 < few < many
    assert many > 8 * 3 * 48 * 20_000  # responses, as read
    assert held(20_000, ensemble={"method": "stacking"}) > many
    four = _estimated(tmp_path / "5", tmp_path / "out", compute={"workers": 4})
    assert f"{readable_bytes(4 * four.worker_bytes)} in 4 workers" in four.lines()[1]


def test_small_folds_are_warned_of_before_and_after(two: Path, tmp_path: Path, in_process: None) -> None:
    small, said = {"folds": {"n": 8}}, "The smallest fold has 6 stimuli"
    assert any(said in line for line in _estimated(two, tmp_path / "out", **small).lines())
    run(settings(two, **small), tmp_path / "out")
    assert said in (tmp_path / "out" / "notes.json").read_text()
    assert said in (tmp_path / "out" / "report.html").read_text()
    assert not any("smallest fold" in line for line in _estimated(two, tmp_path / "other", folds={}).lines())  # 5 of 48
