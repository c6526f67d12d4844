"""Streams of a time series: words, tables and samples with delays or a response of their own, folds of segments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.experiment.miniature import read_table, run
from voxelcast.core.errors import ConfigError, DataError, OptionError, ShapeError, UnknownNameError, VoxelcastWarning
from voxelcast.datasets.registry import open_dataset
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.settings_file import parse_config
from voxelcast.features.hrf import response_to_events
from voxelcast.scoring.inter_subject import inter_subject_r
from voxelcast.store.steps import StepStore

pytestmark = pytest.mark.usefixtures("in_process")

N, TR = 150, 2.0
SUBJECTS = ("ann", "bob", "cleo", "dull")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four listeners to one run: voxel ``said`` follows words' ends, ``later`` a loudness two volumes before.

    Voxel ``both`` follows both, ``early`` the loudness of the volume after; ``dull`` is constant.
    """
    root, rng = tmp_path_factory.mktemp("streams"), np.random.default_rng(0)
    starts = np.sort(rng.uniform(20, 20 + N * TR - 1, 300))
    lengths = rng.uniform(0.1, 0.5, 300)
    rows = [f"{on},{long},word" for on, long in zip(starts.tolist(), lengths.tolist(), strict=True)]
    (root / "words.csv").write_text("\n".join(["onset,duration,word", *rows]))
    loudness = rng.standard_normal((N * 4, 1))
    np.save(root / "loudness.npy", loudness)
    said = response_to_events(starts - 20 + lengths, np.zeros(300), np.ones((300, 1)), (N, TR), "double_gamma")[:, 0]
    volumes = loudness.reshape(N, 4).mean(axis=1)
    signals = [one / one.std() for one in (said, np.roll(volumes, 2), np.roll(volumes, -1))]
    said, later, early = signals
    clean = np.column_stack([said, later, said + later, early])
    for subject in SUBJECTS:
        noisy = 100 + clean + 0.7 * rng.standard_normal(clean.shape) if subject != "dull" else np.full(clean.shape, 3.0)
        np.savetxt(root / f"{subject}.txt", noisy)
    return root


def plain(root: Path, **changes: Any) -> dict[str, Any]:
    dataset = {"kind": "time_series", "root": str(root), "tr": TR, "bold": "{subject}.txt", "drift": "polynomial(1)"}
    dataset |= {"columns": ["said", "later", "both", "early"], "group_mean": True}
    base: dict[str, Any] = {
        "name": "streams",
        "dataset": dataset,
        "features": {
            "words": {"words": str(root / "words.csv"), "start": -20},
            "loudness": {"file": str(root / "loudness.npy"), "rate": 2.0},
        },
        "delays": {"words": "double_gamma", "loudness": [-1, 0, 1, 2]},
        "compress": {"method": "none"},
        "encoders": ["ridge"],
        "folds": {"by": "segment", "n": 5, "gap": 2},
        "significance": {"permutations": 0},
        "compute": {"workers": 1},
    }
    return base | changes


def scores(settings: dict[str, Any], output: Path) -> dict[str, tuple[str, float]]:
    run(settings, output)
    return {row["roi"]: (row["layer"], float(row["score"])) for row in read_table(output / "scores.csv")}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::voxelcast.core.errors.VoxelcastWarning")
def test_each_voxel_finds_its_stream(root: Path, tmp_path: Path) -> None:
    found = scores(plain(root), tmp_path / "out")
    assert {roi: layer for roi, (layer, _) in found.items() if roi != "both"} == {
        "said": "words",
        "later": "loudness",
        "early": "loudness",
    }
    assert min(score for roi, (_, score) in found.items() if roi != "both") > 0.85
    banded = scores(plain(root, ensemble={"method": "banded_ridge"}), tmp_path / "banded")
    assert banded["both"][1] > max(found["both"][1] + 0.1, 0.85)
    joined = scores(plain(root, ensemble={"method": "stacking", "joined": True}), tmp_path / "joined")
    assert joined["both"][1] > max(found["both"][1] + 0.1, 0.85)
    present = plain(root, delays={"words": "double_gamma", "others": [0]})
    assert scores(present, tmp_path / "present")["early"][1] < 0.3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::voxelcast.core.errors.VoxelcastWarning")
def test_words_at_other_times_predict_nothing(root: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    rows = [f"{on},0.3,word" for on in np.sort(rng.uniform(20, 20 + N * TR, 300)).tolist()]
    (tmp_path / "shuffled.csv").write_text("\n".join(["onset,duration,word", *rows]))
    words = {"words": {"words": str(tmp_path / "shuffled.csv"), "start": -20}}
    found = scores(plain(root, features=words, delays="double_gamma"), tmp_path / "out")
    assert found["said"][1] < 0.3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::voxelcast.core.errors.VoxelcastWarning")
def test_volumes_near_a_border_are_left_out(root: Path, tmp_path: Path) -> None:
    run(plain(root), tmp_path / "out")
    predicted = np.load(tmp_path / "out" / "predictions" / "group_said.npy")
    assert len(predicted) == N - 4 * 2
    plan = Plan(parse_config(plain(root), "test"), StepStore(tmp_path / "steps"))
    kept = [i for i, fold in plan.segments.items() if fold >= 0]
    assert plan.units_of(kept[:1]) == ("run segment 1",)
    assert plan.units_of(kept[-1:]) == ("run segment 5",)


def test_streams_of_different_rates_meet_on_a_grid_in_hz(tmp_path: Path) -> None:
    """Rows of 8 per second, loudness of 3 per second, and words by the millisecond, against points that lie densely."""
    rng, n = np.random.default_rng(3), 40
    np.savetxt(tmp_path / "ann.txt", rng.standard_normal((n, 2)))
    np.save(tmp_path / "loudness.npy", loudness := rng.standard_normal(16))
    onsets, lengths = np.sort(rng.uniform(0, 4.5, 30)).round(3), rng.uniform(0.05, 0.6, 30).round(3)
    rows = [f"{onset},{long},word" for onset, long in zip(onsets.tolist(), lengths.tolist(), strict=True)]
    (tmp_path / "words.csv").write_text("\n".join(["onset,duration,word", *rows]))
    dataset = {"kind": "time_series", "root": str(tmp_path), "hz": 8, "bold": "{subject}.txt", "drift": "none"}
    features = {
        "loudness": {"file": str(tmp_path / "loudness.npy"), "rate": 3},
        "words": {"words": str(tmp_path / "words.csv"), "at": "whole"},
    }
    plan = Plan(
        parse_config(plain(tmp_path, dataset=dataset, features=features, delays=[0]), "test"), StepStore(tmp_path)
    )
    points = (np.arange(n * 1000) + 0.5) / 8000
    heard = loudness[np.floor(points * 3).astype(int)].reshape(n, -1).mean(axis=1)
    said = ((points[:, None] >= onsets) & (points[:, None] < onsets + lengths)).sum(axis=1).reshape(n, -1).mean(axis=1)
    for name, expected in (("loudness", heard), ("words", said)):
        found = plan.own_features[name]
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(found[:, 0], expected, atol=4e-3)


def test_a_constant_subject_is_named_and_left_out(root: Path) -> None:
    with pytest.warns(VoxelcastWarning, match="of 4 subjects, dull left out of the group's mean where constant"):
        dataset = open_dataset(parse_config(plain(root), "test").dataset)
    assert dataset.subjects == ("group",)
    values = dataset.responses("group", "said").values
    assert values.shape == (N, 3, 1)
    signal = [np.loadtxt(root / f"{subject}.txt")[:, 0] for subject in SUBJECTS[:3]]
    trend = np.column_stack([np.ones(N), np.arange(N)])
    clean = [one - trend @ np.linalg.lstsq(trend, one, rcond=None)[0] for one in signal]
    np.testing.assert_allclose(values[:, :, 0].T, [one / one.std() for one in clean], atol=1e-9)
    assert inter_subject_r(values.transpose(1, 0, 2)).shape == (3, 1)


@pytest.mark.filterwarnings("ignore::voxelcast.core.errors.VoxelcastWarning")
def test_what_does_not_go_together_is_said(root: Path, tmp_path: Path) -> None:
    def opened(**changes: Any) -> Plan:
        return Plan(parse_config(plain(root, **changes), "test"), StepStore(tmp_path / "steps"))

    with pytest.raises(OptionError, match="need delays, in TR, of all features"):
        opened(delays={"words": [0]})
    with pytest.raises(UnknownNameError, match="feature space 'word' does not exist"):
        opened(delays={"word": [0], "others": [1]})
    with pytest.raises(ConfigError, match="different whole numbers of TR, rising"):
        opened(delays={"words": [1, 0], "others": [1]})
    with pytest.raises(ConfigError, match="gap goes with by segment"):
        opened(folds={"n": 3, "gap": 1})
    with pytest.raises(DataError, match="every segment needs at least 3 volumes"):
        opened(folds={"by": "segment", "n": 30, "gap": 4})
    with pytest.raises(OptionError, match=r"search\.joint needs the same delays"):
        opened(search={"method": "random", "joint": True})
    with pytest.raises(ShapeError, match="columns must name the 4 columns"):
        opened(dataset=plain(root)["dataset"] | {"columns": ["a"]})
