"""Simulate, fit, submit, score: the way of every challenge, its score against ten lines of brute force."""

from __future__ import annotations

import io
import pickle
import zipfile
from itertools import combinations
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from voxelcast.cli.main import cli
from voxelcast.datasets.registry import open_dataset
from voxelcast.experiment.settings_file import load_config
from voxelcast.testing.miniatures import write_miniature

BASELINE = Path(__file__).resolve().parents[2] / "examples" / "algonauts2021_baseline.yaml"
SMALL = ["networks.0.weights=random", "networks.0.input_size=64", "frames={n: 2}", "compress.components=12"]
SMALL += ["folds.n=3", "significance.permutations=0", "compute.workers=1"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_process", "no_report")]


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the report out, which has tests of its own and takes most of the time here."""
    monkeypatch.setattr("voxelcast.report.page.write_report", lambda output: output)


def _voxelcast(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def _run(root: Path, output: Path, *dataset: str) -> Path:
    settings = dataset or (f"dataset.root={root}",)
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
        ("algonauts2021", "full", ("dataset={kind: algonauts2021, root: ROOT, track: full}",)),
        ("bold_moments", "mini", ("dataset={kind: bold_moments, root: ROOT, rois: challenge}",)),
    ],
)
def test_2021(tmp_path: Path, kind: str, track: str, dataset: tuple[str, ...]) -> None:
    root = tmp_path / "data"
    write_miniature(kind, root)
    output = _run(root, tmp_path / "output", *(text.replace("ROOT", str(root)) for text in dataset))
    file = output / "submission" / f"{track}_track.zip"
    config = output / "config.yaml"
    assert "in order" in _voxelcast("submission", "check", file, "--dataset", config)
    printed = _voxelcast("score", file, "--dataset", config, "--output", tmp_path / "score")
    with zipfile.ZipFile(file) as archive:
        content = pickle.loads(archive.read(f"{track}_track.pkl"))
    opened = open_dataset(load_config(config).dataset)
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


def _brute_force_2023(measured: np.ndarray, predicted: np.ndarray) -> list[float]:
    values, n = [], measured.shape[1]
    for y, p in zip(measured.transpose(2, 0, 1), predicted.T, strict=True):  # y: (n_test, n_repetitions)
        noise = y.var(axis=1, ddof=1).mean()
        signal = max(y.mean(axis=1).var(ddof=1) - noise / n, 0)
        ceiling = signal / (signal + noise / n)  # = ncsnr**2 / (ncsnr**2 + 1 / n)
        r = max(np.corrcoef(y.mean(axis=1), p)[0, 1], 0)
        values.append(min(r**2 / (ceiling or 1e-14) * 100, 100))  # as the organisers' script does
    return values


def test_2023(tmp_path: Path) -> None:
    """Every subject saw images of its own: an experiment for each, and one submission of all."""
    root = tmp_path / "data"
    write_miniature("algonauts2023", root)
    outputs = []
    for subject in ("subj01", "subj02"):
        dataset = f"dataset={{kind: algonauts2023, root: {root}, subject: {subject}}}"
        outputs.append(_run(root, tmp_path / subject, dataset))
        assert f"in order: {subject};" in _voxelcast(
            "submission",
            "check",
            outputs[-1] / "submission" / "algonauts2023.zip",
            "--dataset",
            outputs[-1] / "config.yaml",
        )
    assert "in order: subj01, subj02;" in _voxelcast("submission", "make", *outputs, "--folder", tmp_path / "both")
    source = f"algonauts2023:{root}"
    file = tmp_path / "both" / "algonauts2023.zip"
    assert "subj01, subj02; 4 arrays" in _voxelcast("submission", "check", file, "--dataset", source)
    _voxelcast("score", file, "--dataset", source, "--output", tmp_path / "score")
    values = []
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            subject, side = name[:6], name[7:9]
            predicted = np.load(io.BytesIO(archive.read(name))).astype(float)
            measured = np.load(root / subject / "test_split" / "test_fmri" / f"{side}_test_fmri.npy").astype(float)
            values += _brute_force_2023(measured, predicted)
    lines = dict(line.split(": ") for line in (tmp_path / "score" / "scores.txt").read_text().splitlines())
    assert float(lines["score"]) == pytest.approx(np.mean(values), abs=1e-10)


def test_2025(tmp_path: Path) -> None:
    root, output = tmp_path / "data", tmp_path / "output"
    write_miniature("algonauts2025", root)
    dataset = f"dataset={{kind: algonauts2025, root: {root}, movies: [s1, bourne]}}"
    _run(root, output, dataset, "delays=[2, 3, 4]", "encoders=[ridge]", "folds.by=group")
    file = output / "submission" / "fmri_predictions_friends_s7.zip"
    source = ("--dataset", output / "config.yaml")
    assert "in order: sub-01, sub-02; 2 arrays, 48000 values" in _voxelcast("submission", "check", file, *source)
    _voxelcast("score", file, *source, "--output", tmp_path / "score")
    with zipfile.ZipFile(file) as archive:
        (name,) = archive.namelist()
        content = np.load(io.BytesIO(archive.read(name)), allow_pickle=True).item()
    expected = []
    for subject, runs in content.items():
        (path,) = (root / "fmri" / subject / "func").glob("*friends*s7*.h5")
        with h5py.File(path) as measured:
            y = [np.asarray(next(measured[key] for key in measured if run in key))[5:-5] for run in runs]
        p = [values[5:-5] for values in runs.values()]
        y, p = np.concatenate(y).astype(float), np.concatenate(p).astype(float)
        expected.append(np.mean([np.corrcoef(y[:, k], p[:, k])[0, 1] for k in range(1000)]))
    lines = dict(line.split(": ") for line in (tmp_path / "score" / "scores.txt").read_text().splitlines())
    assert float(lines["score"]) == pytest.approx(np.mean(expected), abs=1e-10)
    assert float(lines["score"]) > 0.05  # the movie is in the parcels, some volumes later
