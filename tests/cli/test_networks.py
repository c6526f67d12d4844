from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from voxelcast.cli.main import cli
from voxelcast.core.cost import readable_bytes
from voxelcast.core.errors import OptionError, UnwritableError


def run(*arguments):
    return CliRunner().invoke(cli, ["networks", *map(str, arguments)], catch_exceptions=False).output.splitlines()


def test_layers_are_listed_with_their_size_on_disk():
    lines = run("layers", "torchvision/resnet18", "--stimuli", 1000)
    # 64 x 112 x 112 = 802,816 features, 4 bytes each.
    assert lines[0] == "conv1\tConv2d\t64 x 112 x 112\t802816 features\t3.21 GB"
    assert "fc\tLinear\t1000\t1000 features\t4 MB" in lines
    features = [int(line.split("\t")[3].split()[0]) for line in lines[:-2]]
    assert lines[-2] == f"total\t{len(features)} layers\t\t{sum(features)} features\t{sum(features) * 4e3 / 1e9:.3g} GB"
    assert lines[-1] == "for 1000 stimuli, pooled over time, float32"


def test_a_grid_and_clips_count():
    lines = run("layers", "torchvision/mc3_18", "--input-size", 32, "--clip-length", 4, "--grid", 2)
    assert lines[0] == "stem.0\tConv3d\t64 x 16 x 16, 4 steps\t256 features"
    assert "fc\tLinear\t400, 1 step\t400 features" in lines


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_600, "1 MB"),
        (8_850_000_000, "8.85 GB"),
        (2 * 10**18, "2e+03 PB"),
    ],
)
def test_sizes_are_readable(n, text):
    assert readable_bytes(n) == text


def test_learning_and_validating_from_the_command_line(tmp_path):
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for k in range(4):
            pixels = rng.integers(0, 100, (20, 20, 3), dtype=np.uint8)
            pixels[..., channel] += 100
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{k}.png")
    network = ("torchvision/shufflenet_v2_x0_5", tmp_path / "images", "--input-size", 32)
    output = tmp_path / "tuned.pth"
    lines = run(
        "finetune", *network, "--weights", "random", "--epochs", 1, "--fraction", 0.5, "--batch", 2, "--output", output
    )
    assert lines[-3] == "4 images of 2 classes, 1 epoch"
    assert lines[-1] == f"weights: {output}"
    accuracy = tmp_path / "accuracy.json"
    tuned = ("--weights", output, "--classes", f"{output}.classes.json", "--output", accuracy)
    lines = run("validate", *network, *tuned)
    assert lines[-2] == "8 images of 2 classes, 2 classes in the network"
    found = json.loads(accuracy.read_text())
    assert lines[-1] == f"top-1 {found['top1']:.4f}, top-5 1.0000"
    assert (found["network"], found["n_images"]) == (network[0], 8)
    status = CliRunner().invoke(cli, ["status", str(accuracy)]).output.splitlines()
    assert status[0].startswith("finished; on this machine")
    assert status[1].split() == [*f"validate {network[0]} 8 of 8 done".split()]
    with pytest.raises(UnwritableError, match=r"accuracy\.json is there already"):
        run("validate", *network, *tuned)


def test_wrong_settings_are_refused_before_anything_is_read(tmp_path):
    with pytest.raises(OptionError, match="epochs must be at least 1"):
        run("finetune", "torchvision/resnet18", tmp_path / "nothing", "--epochs", 0, "--output", tmp_path / "x.pth")
