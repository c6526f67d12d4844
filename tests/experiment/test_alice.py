"""Alice: from the published files to scores, above a baseline of published predictors, and nothing of moved words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.experiment.miniature import run
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import VoxelcastWarning
from voxelcast.datasets.registry import open_dataset
from voxelcast.experiment.settings_file import parse_config
from voxelcast.results.read import read_results
from voxelcast.scoring.inter_subject import inter_subject_r
from voxelcast.stimuli.words import read_words

pytestmark = [pytest.mark.usefixtures("in_process"), pytest.mark.filterwarnings("ignore::UserWarning")]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ROIS = ["LATL", "RATL", "LPTL", "LIPL", "LPreM", "LIFG"]
BASELINE = np.array([0.423, 0.338, 0.414, 0.447, 0.436, 0.372])
"""Pearson r of ridge regression on the 12 published predictors, elsewhere."""


@pytest.fixture(scope="module")
def alice(real_data: Path) -> Path:
    if not (real_data / "alice").is_dir():
        pytest.skip(f"{real_data / 'alice'} is not there")
    return real_data / "alice"


def example(name: str, alice: Path, **changes: Any) -> dict[str, Any]:
    text = (EXAMPLES / f"{name}.yaml").read_text().replace("../shared/data/alice", str(alice))
    return yaml.safe_load(text) | {"significance": {"permutations": 0}, "compute": {"workers": 1}} | changes


def scores(settings: dict[str, Any], output: Path) -> FloatArray:
    run(settings, output)
    return np.asarray(read_results(output).voxel_scores["pearson_r"].values, dtype=np.float64)


@pytest.mark.slow
def test_words_predict_more_than_the_baseline(alice: Path, tmp_path: Path) -> None:
    found = scores(example("alice", alice), tmp_path / "words")
    assert (found > BASELINE).sum() >= 4
    single = example("alice", alice, features=example("alice_published", alice)["features"])
    single["features"].pop("words")
    published = scores(single | {"delays": [0]}, tmp_path / "published")
    together = scores(example("alice_published", alice), tmp_path / "together")
    assert (together >= np.maximum(found, published) - 0.005).all()


@pytest.mark.slow
def test_moved_words_predict_nothing(alice: Path, tmp_path: Path) -> None:
    """Words of the same lengths, with the same pauses between them, in another order."""
    plain = example("alice", alice)
    words = read_words(Path(plain["features"]["words"]["words"]))
    starts = np.append(20.0, words.onsets + words.durations)
    pauses = words.onsets - starts[:-1]
    means = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(pauses))
        ends = 20.0 + np.cumsum(pauses[order] + words.durations[order])
        rows = [f"{end - long},{long},word" for end, long in zip(ends.tolist(), words.durations[order], strict=True)]
        (tmp_path / f"{seed}.csv").write_text("\n".join(["onset,duration,word", *rows]))
        features = {"words": {"words": str(tmp_path / f"{seed}.csv"), "start": -20}}
        means.append(scores(plain | {"features": features}, tmp_path / str(seed)).mean())
    assert abs(np.mean(means)) < 0.1


def test_listeners_agree_as_published(alice: Path) -> None:
    with pytest.warns(VoxelcastWarning, match="of 28 subjects, s33 left out"):
        dataset = open_dataset(parse_config(example("alice", alice), "alice").dataset)
    found = [inter_subject_r(dataset.responses("group", roi).values.transpose(1, 0, 2)).mean() for roi in ROIS]
    np.testing.assert_allclose(found, [0.333, 0.246, 0.425, 0.282, 0.257, 0.195], atol=0.01)
