"""``voxelcast rsa`` from pictures and RDMs to its files: on a miniature of known layer, and on the 92 pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr

from tests.experiment.miniature import ENERGY, draw
from voxelcast.cli.main import cli
from voxelcast.core.errors import ConfigError, ShapeError, StoreError
from voxelcast.core.progress import Silent
from voxelcast.experiment.rsa import RsaSettings, load_rsa_settings, run_rsa
from voxelcast.experiment.settings_file import check_settings

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "rdm92.yaml"
pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture
def miniature(tmp_path: Path) -> dict[str, Any]:
    """Twenty pictures, and RDMs of three subjects: noisy distances between the pictures' block colours."""
    rng = np.random.default_rng(0)
    pictures, _ = draw(20, rng)
    (tmp_path / "stimuli").mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "stimuli" / f"{number:02d}.png")
    distance = pdist(pictures[:, ::4, ::4].reshape(20, -1).astype(float), "correlation")
    noisy = distance + 0.3 * distance.std() * rng.standard_normal((3, len(distance)))
    np.save(tmp_path / "rdms.npy", [squareform(subject) for subject in noisy])
    return {
        "name": "mini",
        "stimuli": str(tmp_path / "stimuli"),
        "rdms": str(tmp_path / "rdms.npy"),
        "networks": [{"name": ENERGY, "layers": ["colour", "static.4"], "input_size": 64}],
        "interval": {"resamples": 100},
        "significance": {"permutations": 199},
    }


def _config(raw: dict[str, Any]) -> RsaSettings:
    return check_settings(RsaSettings, raw, "test")


def test_finds_the_layer_and_writes_everything(miniature: dict[str, Any], tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = run_rsa(_config(miniature), output, progress=Silent())
    assert result.best.layer == "colour"
    assert result.ceiling_low - 0.1 < result.best.similarity <= result.ceiling_high
    assert sum(row.best_share for row in result.layers) == pytest.approx(1)
    measured = [squareform(square) for square in np.load(miniature["rdms"])]
    features = np.load(output / "features" / ENERGY.replace("/", "-") / "colour.npy")
    rdm = pdist(features.astype(float), "correlation")
    expected = np.mean([spearmanr(rdm, subject).statistic for subject in measured])
    table = pd.read_csv(output / "layers.csv").set_index("layer")
    assert table.loc["colour", "similarity"] == pytest.approx(expected, abs=1e-9)
    assert table.loc["colour", "low"] < expected < table.loc["colour", "high"]
    assert table.loc["colour", "shuffled_low"] < 0 < table.loc["colour", "shuffled_high"] < expected
    assert table.loc["colour", ["p_value", "p_best"]].tolist() == [1 / 200, 1 / 200]
    assert (table["p_best"] >= table["p_value"]).all()
    with np.load(output / "rdms.npz") as rdms:
        np.testing.assert_allclose(rdms[f"{ENERGY}/colour"], rdm, atol=1e-9)
        np.testing.assert_allclose(rdms["measured"], measured, atol=1e-12)
    assert json.loads((output / "ceiling.json").read_text())["lower"] == result.ceiling_low
    assert Image.open(output / "layers.png").size[0] > 1000
    before = (output / "layers.csv").read_bytes(), (output / "layers.png").read_bytes()
    run_rsa(_config(miniature), output, progress=Silent())
    assert ((output / "layers.csv").read_bytes(), (output / "layers.png").read_bytes()) == before
    with pytest.raises(StoreError, match="another analysis"):
        run_rsa(_config({**miniature, "comparison": "pearson"}), output, progress=Silent())


def test_rdms_of_other_stimuli_are_refused(miniature: dict[str, Any], tmp_path: Path) -> None:
    np.save(tmp_path / "rdms.npy", np.load(tmp_path / "rdms.npy")[:, :19, :19])
    with pytest.raises(ShapeError, match=r"\(n_subjects, 20, 20\); got \(3, 19, 19\)"):
        run_rsa(_config(miniature), tmp_path / "out", progress=Silent())
    assert not (tmp_path / "out" / "features").exists()  # known before the long work


def test_settings_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(EXAMPLE.read_text())
    assert load_rsa_settings(file, ["comparison=kendall_tau_a"]).comparison == "kendall_tau_a"
    with pytest.raises(ConfigError, match=r"comparisn is not a setting; did you mean comparison\?"):
        load_rsa_settings(file, ["comparisn=pearson"])
    with pytest.raises(ConfigError, match="dissimilarity"):
        load_rsa_settings(file, ["dissimilarity=cosine"])


def test_the_command_says_what_it_found(miniature: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "mini.yaml"
    file.write_text(json.dumps(miniature))
    ran = CliRunner().invoke(cli, ["rsa", str(file), "--output", str(tmp_path / "out")], catch_exceptions=False)
    assert ran.exit_code == 0
    assert f"{ENERGY} colour, spearman" in ran.output
    assert "noise ceiling: " in ran.output
    assert "; p = 0.005, 0.005 as the best of all layers" in ran.output
    without = ["rsa", str(file), "significance.permutations=0", "--output", str(tmp_path / "without")]
    assert "shuffled" not in CliRunner().invoke(cli, without, catch_exceptions=False).output


@pytest.mark.slow
def test_human_it_prefers_late_layers(real_data: Path, tmp_path: Path) -> None:
    config = load_rsa_settings(
        EXAMPLE,
        [
            f"stimuli={real_data / 'rdm92' / 'Kriegeskorte_Neuron2008_supplementalData.mat'}",
            f"rdms={real_data / 'rdm92' / '92_brainRDMs.mat'}",
            f"networks.0.weights={real_data / 'weights' / 'mobilenet_v2_1.0_224_coral_tv.pth'}",
            "networks.0.layers=[features.1, features.15]",
            "interval.resamples=100",
            "significance.permutations=999",
        ],
    )
    result = run_rsa(config, tmp_path / "out", progress=Silent())
    assert result.best.layer == "features.15"
    assert result.best.similarity == pytest.approx(0.234, abs=0.005)
    assert (result.best.p_value, result.best.p_best) == (0.001, 0.001)
    assert (result.ceiling_low, result.ceiling_high) == pytest.approx((0.372, 0.666), abs=0.001)
