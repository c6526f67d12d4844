"""`voxelcast init`: an experiment file for a folder that was looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from voxelcast.cli.main import cli
from voxelcast.core.errors import AlignmentError, UnwritableError
from voxelcast.datasets.registry import open_dataset
from voxelcast.experiment.first_file import first_experiment
from voxelcast.experiment.settings_file import load_config


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Six pictures and their ids; responses are for the test to write."""
    root = tmp_path / "study"
    (root / "stimuli").mkdir(parents=True)
    (root / "responses").mkdir()
    for number in range(6):
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(root / "stimuli" / f"im{number}.png")
    (root / "stimulus_ids.txt").write_text("\n".join(f"im{number}" for number in range(6)))
    return root


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((6, 9), ["stimulus", "voxel"]),
        ((9, 6), ["voxel", "stimulus"]),
        ((6, 2, 9), ["stimulus", "repetition", "voxel"]),
        ((6, 9, 2), ["stimulus", "voxel", "repetition"]),
        ((2, 6, 9), ["repetition", "stimulus", "voxel"]),
        ((9, 6, 3), ["voxel", "stimulus", "repetition"]),
    ],
)
def test_axes_are_those_that_fit(study: Path, shape: tuple[int, ...], axes: list[str]) -> None:
    np.save(study / "responses" / "sub01.npy", np.zeros(shape))
    said = yaml.safe_load(first_experiment(study, "study"))
    assert said["dataset"] == {"kind": "folder", "root": str(study), "axes": axes}
    assert "frames" not in said  # pictures have none
    assert said["folds"]["n"] == 5  # below 100 stimuli


def test_the_file_is_one_that_run_understands_and_is_never_overwritten(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(study / "responses" / "sub01.npy", np.zeros((6, 9)))
    monkeypatch.chdir(study.parent)
    assert CliRunner().invoke(cli, ["init", "study"], catch_exceptions=False).exit_code == 0
    config = load_config(Path("study.yaml"), ["folds.n=3"])
    assert open_dataset(config.dataset).subjects == ("sub01",)
    with pytest.raises(UnwritableError, match="choose another --to"):
        CliRunner().invoke(cli, ["init", "study"], catch_exceptions=False)


def test_which_row_is_which_stimulus_is_not_guessed(study: Path) -> None:
    np.save(study / "responses" / "sub01.npy", np.zeros((6, 9)))
    (study / "stimulus_ids.txt").unlink()
    with pytest.raises(AlignmentError, match="which stimulus each row"):
        first_experiment(study, "study")


@pytest.mark.parametrize("kind", ["algonauts2021", "bold_moments"])
def test_a_dataset_of_a_known_kind_is_found(kind: str, miniature: Callable[[str], Path]) -> None:
    said = yaml.safe_load(first_experiment(miniature(kind), "mini"))
    assert said["dataset"]["kind"] == kind
    assert said["frames"] == {"every": 2}
