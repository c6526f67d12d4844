"""Alice: from the published files to scores, above a baseline of published predictors, and nothing of moved words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.experiment.miniature import run
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import VoxelcastWarning
from voxelcast.datasets.registry import open_dataset
from voxelcast.experiment.settings_file import parse_config, read_settings
from voxelcast.results.read import read_results
from voxelcast.scoring.inter_subject import inter_subject_r
from voxelcast.stimuli.words import read_words

pytestmark = [pytest.mark.usefixtures("in_process"), pytest.mark.filterwarnings("ignore::UserWarning")]

PUBLISHED = """{rate: 0.5, start: -20,
  file: ../shared/data/alice/alice_data_shared/sept18-generic-predictors-under-hrf-with-logfrqhal.txt}"""
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ROIS = ["LATL", "RATL", "LPTL", "LIPL", "LPreM", "LIFG"]
BASELINE = np.array([0.423, 0.338, 0.414, 0.447, 0.436, 0.372])
"""Pearson r of ridge regression on the 12 published predictors, elsewhere."""


@pytest.fixture(scope="module")
def alice(real_data: Path) -> Path:
    if not (real_data / "alice").is_dir():
        pytest.skip(f"{real_data / 'alice'} is not there")
    return real_data / "alice"


def example(alice: Path, *overrides: str, **changes: Any) -> dict[str, Any]:
    """Return the example's settings, with overrides as on the command line, and others."""
    raw = read_settings(EXAMPLES / "alice.yaml", overrides)
    there = json.loads(json.dumps(raw).replace("../shared/data/alice", str(alice)))
    return there | {"significance": {"permutations": 0}, "compute": {"workers": 1}} | changes


def scores(settings: dict[str, Any], output: Path) -> FloatArray:
    run(settings, output)
    return np.asarray(read_results(output).voxel_scores["pearson_r"].values, dtype=np.float64)


@pytest.mark.slow
def test_words_predict_more_than_the_baseline(alice: Path, tmp_path: Path) -> None:
    """Which way in which words count is best is weighed within the folds, so no choice saw these scores."""
    found = scores(example(alice), tmp_path / "words")
    assert (found > BASELINE).sum() >= 4
    both = example(alice, f"features.published={PUBLISHED}", "delays.published=[0]")
    alone = both | {"features": {"published": both["features"]["published"]}, "delays": [0], "ensemble": {}}
    better = np.maximum(found, scores(alone, tmp_path / "published"))
    assert (scores(both, tmp_path / "together") >= better - 0.005).all()


@pytest.mark.slow
def test_moved_words_predict_nothing(alice: Path, tmp_path: Path) -> None:
    """Words of the same lengths, with the same pauses between them, in another order."""
    plain = example(alice, delays="double_gamma")
    sources = {name: source for name, source in plain["features"].items() if name.count("-") == 1}
    words = read_words(Path(sources["rate-end"]["words"]))
    starts = np.append(20.0, words.onsets + words.durations)
    pauses = words.onsets - starts[:-1]
    means = []
    for seed in range(3):
        order = np.tile(np.random.default_rng(seed).permutation(len(pauses)), 2)  # more than there is time for
        ends = -20.0 + np.cumsum(pauses[order] + words.durations[order])  # so that the run does not begin in silence
        rows = [f"{end - long},{long},word" for end, long in zip(ends.tolist(), words.durations[order], strict=True)]
        (tmp_path / f"{seed}.csv").write_text("\n".join(["onset,duration,word", *rows]))
        features = {name: source | {"words": str(tmp_path / f"{seed}.csv")} for name, source in sources.items()}
        means.append(scores(plain | {"features": features}, tmp_path / str(seed)).mean())
    assert abs(np.mean(means)) < 0.1


def test_listeners_agree_as_published(alice: Path) -> None:
    with pytest.warns(VoxelcastWarning, match="of 28 subjects, s33 left out"):
        dataset = open_dataset(parse_config(example(alice, "dataset.columns=" + str(ROIS)), "alice").dataset)
    found = [inter_subject_r(dataset.responses("group", roi).values.transpose(1, 0, 2)).mean() for roi in ROIS]
    np.testing.assert_allclose(found, [0.333, 0.246, 0.425, 0.282, 0.257, 0.195], atol=0.01)
