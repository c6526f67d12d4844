"""Several pools over time in one experiment: extracted at once, searched like layers, and named in the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.datasets.series_files import N_VOLUMES, RUNS, SETTINGS, TR, write_series
from tests.experiment.miniature import ENERGY, FRAMES, GRID, read_table, run, settings
from voxelcast.core.errors import ConfigError, DataError, OptionError
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning.stages import EXTRACT
from voxelcast.experiment.run import estimate_experiment
from voxelcast.experiment.settings_file import load_config, parse_config
from voxelcast.stimuli.encode import write_video
from voxelcast.store.steps import StepStore

pytestmark = pytest.mark.usefixtures("in_process")

N, PATTERNS = 36, 4


@pytest.fixture(scope="module")
def flashes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of grey that flash up and as far down, and voxels that follow the flash, whose mean over time is 0."""
    root = tmp_path_factory.mktemp("flashes")
    rng = np.random.default_rng(0)
    strength = rng.random((N, PATTERNS))
    flash = np.tensordot(strength, 10 * rng.random((PATTERNS, GRID, GRID)), axes=1).repeat(4, axis=1).repeat(4, axis=2)
    (root / "stimuli").mkdir()
    (root / "responses").mkdir()
    for number, own in enumerate(flash):
        # Four moments of three frames: up, down, and twice nothing, in any order.
        grey = 128 + rng.integers(-3, 4, (GRID, GRID)).repeat(4, axis=0).repeat(4, axis=1)
        moments = grey + rng.permutation([1, -1, 0, 0])[:, None, None] * own
        frames = moments.repeat(FRAMES // 4, axis=0)[..., None].repeat(3, axis=-1)
        write_video(root / "stimuli" / f"s{number:03d}.mp4", frames.astype(np.uint8), 6)
    responses = strength @ rng.standard_normal((PATTERNS, 5))
    np.save(root / "responses" / "ann.npy", responses + 0.2 * responses.std() * rng.standard_normal(responses.shape))
    (root / "stimulus_ids.txt").write_text("\n".join(f"s{number:03d}" for number in range(N)))
    return root


def _settings(root: Path, **changes: Any) -> dict[str, Any]:
    plain = settings(root, encoders=["ridge"], folds={"n": 4}, compress={"components": 4}) | changes
    plain["networks"] = [{"name": ENERGY, "layers": changes.get("layers", ["colour"]), "input_size": 64}]
    plain.pop("layers", None)
    return plain


def _nested_pools(output: Path) -> set[str]:
    return {row["pool"] for row in read_table(output / "weights.csv") if row["fold"] != "all"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"search": {"method": "bayes", "joint": True, "trials": 15}},
        {"search": {"method": "random", "trials": 4}, "compress": {"components": 4, "fit": "once"}},
        {"selection": {"per": "voxel"}},
    ],
    ids=["exact", "joint", "random-once", "per-voxel"],
)
def test_the_pool_that_carries_the_signal_is_found(flashes: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    run(_settings(flashes, pool=["mean", "max", "median"], **changes), tmp_path / "out")
    (row,) = read_table(tmp_path / "out" / "scores.csv")
    assert row["pool"] == "max"
    assert float(row["score"]) > 0.7  # nested: every outer fold chose the pool without its own stimuli
    assert _nested_pools(tmp_path / "out") == {"max"}
    assert {tried["pool"] for tried in read_table(tmp_path / "out" / "search.csv")} == {"mean", "max", "median"}


def test_without_that_pool_there_is_little_to_find(flashes: Path, tmp_path: Path) -> None:
    run(_settings(flashes, pool=["mean", "median"]), tmp_path / "out")
    (row,) = read_table(tmp_path / "out" / "scores.csv")
    assert float(row["score"]) < 0.3


@pytest.mark.parametrize("method", ["stacking", "average", "banded_ridge"])
def test_ensembles_combine_pools(flashes: Path, tmp_path: Path, method: str) -> None:
    ensemble = {"method": method, "top": 2, "draws": 3}
    run(_settings(flashes, pool=["mean", "max", "std"], ensemble=ensemble), tmp_path / "out")
    (row,) = read_table(tmp_path / "out" / "scores.csv")
    assert float(row["score"]) > 0.7
    weights = np.load(tmp_path / "out" / "weights" / "ann_all.npy").mean(axis=1)
    pools = [layer["pool"] for layer in read_table(tmp_path / "out" / "layers.csv")]
    assert pools == ["mean", "max", "std"]
    final = [w for w in read_table(tmp_path / "out" / "weights.csv") if w["fold"] == "all"]
    for place, pool in enumerate(pools):
        assert sum(float(w["weight"]) for w in final if w["pool"] == pool) == pytest.approx(weights[place])
    assert weights[0] < 0.2 < weights[2]


def test_each_pool_gives_what_it_gives_alone(flashes: Path, tmp_path: Path) -> None:
    """To the bit, with one extraction for all; and a list of one pool is that pool."""
    layers = {"layers": ["colour", "static.4"], "frames": {"n": 4}}
    pools = ["max", "bold(peak=2, under=4)", "pc1", "none"]
    together = run(_settings(flashes, pool=pools, **layers), tmp_path / "together", tmp_path / "store")
    assert len(list((tmp_path / "store" / "extract").iterdir())) == 2  # 36 stimuli, 32 a step
    assert together.steps_run == 1 + 2 + 2 * 4 + 1 + 1  # responses, extraction, compression, fit, axes
    tried = read_table(tmp_path / "together" / "search.csv")
    alone = []
    for pool in pools:
        run(_settings(flashes, pool=pool, **layers), tmp_path / pool, tmp_path / "alone")
        alone.append(read_table(tmp_path / pool / "search.csv"))
        assert "pool" not in alone[-1][0]
    for pool, rows in zip(pools, alone, strict=True):
        mine = [{name: value for name, value in row.items() if name != "pool"} for row in tried if row["pool"] == pool]
        assert mine == rows
    assert list(tried[0])[:6] == ["subject", "roi", "network", "weights", "layer", "pool"]
    again = run(_settings(flashes, pool=["max"], **layers), tmp_path / "max", tmp_path / "alone")
    assert again.steps_run == 0


def test_a_layer_with_several_pools_is_a_line_each_in_the_report(flashes: Path, tmp_path: Path) -> None:
    layers = ["colour", "static.4"]
    search = {"method": "bayes", "trials": 12, "joint": True}
    run(_settings(flashes, pool=["mean", "max"], layers=layers, search=search), tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    (chosen,) = read_table(tmp_path / "out" / "scores.csv")
    assert f"{chosen['layer']}, with the pool {chosen['pool']} and the encoder ridge" in page
    for pool in ("mean", "max"):
        assert f"<option>{ENERGY} (none (built in)) · {pool}</option>" in page
    assert f" · {chosen['pool']}<small> <code>{chosen['layer']}</code></small>" in page
    assert "Importance of each parameter" in page


def test_a_dry_run_counts_the_pools(flashes: Path, tmp_path: Path) -> None:
    def estimated(pool: object, output: str) -> Any:
        plain = _settings(flashes, pool=pool, layers=["colour", "static.4"])
        return estimate_experiment(parse_config(plain, "x"), tmp_path / output)

    one, two = estimated("mean", "one"), estimated(["mean", "none"], "two")
    assert one.lines()[0].endswith("1 subject x ROI, 2 layers")
    assert two.lines()[0].endswith("1 subject x ROI, 2 layers in 2 pools: 4 feature spaces")
    assert [network.features["colour"] for network in two.networks] == [192, 4 * 192]
    assert two.disk_bytes > 2 * one.disk_bytes
    run(_settings(flashes, pool=["mean", "none"], layers=["colour", "static.4"]), tmp_path / "two")
    assert estimated(["mean", "none"], "two").seconds[EXTRACT] == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pool": []}, "pool: must be the name of a pool over time, or a list of names; got []"),
        ({"pool": 3}, "pool: must be the name of a pool over time, or a list of names; got 3"),
        ({"pool": ["mean", 3]}, "pool: must be the name of a pool over time, or a list of names"),
        ({"pool": ["mean", "maxx"]}, "pool 'maxx' does not exist; did you mean max"),
        ({"pool": ["max", "mean", "max"]}, "pool must name different pools; max gives the same features as max"),
        ({"pool": ["hrf(a.csv)", "hrf(b.csv)"]}, "hrf(b.csv) gives the same features as hrf(a.csv)"),
        ({"pool": ["mean", "max"], "networks": [], "features": ["x"]}, "pool: 2 pools need networks"),
    ],
)
def test_pools_that_cannot_be_are_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("time,V1\n0,0\n1,1\n4,0\n")
    with pytest.raises(ConfigError) as caught:
        parse_config(settings(Path("data")) | changes, "x.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    networks = "networks: [{name: voxelcast/motion_energy, layers: all}]"
    path.write_text(f"name: x\ndataset: {{kind: folder, root: r}}\n{networks}\n")
    assert load_config(path).pools == ("mean",)
    config = load_config(path, ["pool=[mean, 'bold(peak=5, under=12)']"])
    assert config.pools == ("mean", "bold(peak=5, under=12)")
    assert config.results_config()["pool"] == ["mean", "bold(peak=5, under=12)"]
    assert load_config(path, ["pool=[max]"]).results_config()["pool"] == "max"


def test_pictures_have_one_frame(images: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"several pools need videos, and this dataset has pictures.*set pool=mean"):
        Plan(parse_config(settings(images, pool=["mean", "max"]), "x"), StepStore(tmp_path / "store"))


@pytest.fixture(scope="module")
def movies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of volumes with events, which drive the responses, and movies, which do not."""
    root = tmp_path_factory.mktemp("movies")
    write_series(root)
    rng = np.random.default_rng(0)
    for name in RUNS:
        frames = (
            rng.integers(0, 256, (int(N_VOLUMES * TR), 4, 4, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
        )
        write_video(root / f"{name}.mp4", frames, 1)
    return root


def _series(root: Path, **changes: Any) -> dict[str, Any]:
    plain = settings(root, folds={"by": "group"}, frames={"every": 1}, compress={"components": 3}) | changes
    plain["networks"][0]["layers"] = ["colour"]
    dataset = {"kind": "time_series", "root": str(root), **SETTINGS, "subjects": "ann", "rois": "four"}
    return plain | {"dataset": dataset | {"movies": "{run}.mp4"}, "encoders": ["ridge"]}


def test_tables_of_the_dataset_have_no_pool(movies: Path, tmp_path: Path) -> None:
    ensemble = {"method": "stacking"}
    plain = _series(movies, pool=["mean", "pc1"], delays=[1, 2], features=["conditions"], ensemble=ensemble)
    run(plain | {"compress": {"method": "none"}}, tmp_path / "out")
    layers = [(layer["layer"], layer["pool"]) for layer in read_table(tmp_path / "out" / "layers.csv")]
    assert layers == [("colour", "mean"), ("colour", "pc1"), ("conditions", "")]
    (row,) = read_table(tmp_path / "out" / "scores.csv")
    assert (row["layer"], row["pool"]) == ("conditions", "")
    before = (tmp_path / "out" / "report.html").read_text().split("<small> <code>conditions</code></small>")[0]
    shown = before.rpartition('<td class="name">')[2]
    assert shown
    assert "·" not in shown


@pytest.mark.parametrize("pool", ["bold", ["mean", "bold_2021_1"]])
def test_delays_and_kernels_model_the_same_lag(movies: Path, tmp_path: Path, pool: object) -> None:
    with pytest.raises(OptionError, match=r"pool bold\w* and delays model the same lag.*out of pool, or set delays"):
        Plan(parse_config(_series(movies, pool=pool, delays=[1, 2]), "x"), StepStore(tmp_path / "store"))
    Plan(parse_config(_series(movies, pool=pool, delays=[0]), "x"), StepStore(tmp_path / "store"))


def test_a_pool_that_fails_names_itself(flashes: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ends before the BOLD kernel"):
        run(_settings(flashes, pool=["mean", "bold(peak=600, under=700)"]), tmp_path / "out")
