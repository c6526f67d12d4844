"""Simulate, fit, submit, score: the way of every challenge, its score against ten lines of brute force."""

from __future__ import annotations

import pickle
import zipfile
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from voxelcast.cli.main import cli
from voxelcast.datasets.registry import MINIATURES
from voxelcast.experiment.builders import build_dataset
from voxelcast.experiment.config_file import load_config

BASELINE = Path(__file__).resolve().parents[2] / "examples" / "algonauts2021_baseline.yaml"
SMALL = ["networks.0.weights=random", "networks.0.input_size=64", "frames={n: 2}", "compress.components=12"]
SMALL += ["folds.n=3", "interval.resamples=100", "significance.permutations=0", "compute.workers=1"]

pytestmark = pytest.mark.slow


def _voxelcast(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def _run(root: Path, output: Path, *dataset: str) -> Path:
    settings = [f"dataset.root={root}", *dataset]
    _voxelcast("run", BASELINE, *settings, *SMALL, "--output", output)
    return output


def _brute_force_2021(measured: np.ndarray, predicted: np.ndarray) -> float:
    scores = []
    for y, p in zip(measured.transpose(2, 0, 1), predicted.T, strict=True):  # y: (n_test, 10)
        r = np.corrcoef(y.mean(1), p)[0, 1]
        reliability = []
        for half in combinations(range(10), 5):
            other = sorted(set(range(10)) - set(half))
            rho = np.corrcoef(y[:, list(half)].mean(1), y[:, other].mean(1))[0, 1]
            reliability.append(2 * rho / (1 + rho))
        if np.mean(reliability) > 0:
            scores.append(r / np.sqrt(np.mean(reliability)))
    return float(np.mean(scores))


@pytest.mark.parametrize(
    ("kind", "track", "dataset"),
    [
        ("algonauts2021", "mini", ()),
        ("algonauts2021", "full", ("dataset.track=full",)),
        ("bold_moments", "mini", ("dataset={kind: bold_moments, root: ROOT, rois: challenge}",)),
    ],
)
def test_2021(tmp_path: Path, in_process: None, kind: str, track: str, dataset: tuple[str, ...]) -> None:
    root = tmp_path / "data"
    MINIATURES[kind](root, 0)
    output = _run(root, tmp_path / "output", *(text.replace("ROOT", str(root)) for text in dataset))
    file = output / "submission" / f"{track}_track.zip"
    config = output / "config.yaml"
    assert "in order" in _voxelcast("submission", "check", file, "--dataset", config)
    printed = _voxelcast("score", file, "--dataset", config, "--output", tmp_path / "score")
    with zipfile.ZipFile(file) as archive:
        content = pickle.loads(archive.read(f"{track}_track.pkl"))
    opened = build_dataset(load_config(config).dataset)
    expected = {}
    for roi, subjects in content.items():
        measured = {subject: opened.responses(subject, roi, "test").values for subject in subjects}
        scores = [_brute_force_2021(measured[s].astype(float), p.astype(float)) for s, p in subjects.items()]
        expected[roi] = np.mean(scores)
    lines = dict(line.split(": ") for line in (tmp_path / "score" / "scores.txt").read_text().splitlines())
    total = float(lines.pop("score"))
    assert {roi: float(value) for roi, value in lines.items()} == pytest.approx(expected, abs=1e-10)
    assert total == pytest.approx(np.mean(list(expected.values())), abs=1e-10)
    assert f"score: {total:.4f}" in printed
    # The run's predictions are the submission's.
    assert f"score: {total:.4f}" in _voxelcast("score", output, "--dataset", config)
