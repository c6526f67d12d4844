"""``python -m benchmarks``: every command's options reach its benchmark, whose facts are printed one a line."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import benchmark

needs_transformers = pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            "pls --stimuli 80 --components 8 --voxels 4 --trials 2 --within-rank --sampler tpe --seed 3",
            ("80 stimuli, 8 features, 4 voxels, 10 folds", "2 proposals", "(tpe, 1 to 8 components)"),
        ),
        ("encoders --encoders ridge --trials 1", ("1000 stimuli, 50 features, 232 voxels", "ridge: 1 proposals")),
        (
            "permutation --stimuli 40 --voxels 6 --permutations 20 --workers 1",
            ("40 stimuli x 6 voxels, 20 permutations, 1 threads", "did: yes"),
        ),
        (
            "temporal --parcels 4 --volumes 70 --windows 2 --only kernels --only modalities --no-medarc",
            ("4 subjects x 4 parcels, 10 runs of 70 TR", "kernel 45: ", "modality named: "),
        ),
        ("trunks --subjects 2 --stimuli 40 --voxels 3", ("2 subjects, 40 stimuli, 3 voxels each", "all above one: ")),
        (
            "whole-brain --voxels 20 --layers 1 --encoders pls",
            ("20 voxels of one subject, 1 layers, pls, nested", "1 BLAS thread"),
        ),
        (
            "growth --encoders ridge --axes layers --stimuli 60 --features 4 --voxels 5",
            ("| ridge | layers 1 to 8 |", "grows faster than stated: "),
        ),
        pytest.param(
            "large --stimuli 300 --features 4 --voxels 40 --folds 3 --memory 68e6",
            ("memory allowed: 68 MB", "voxels at a time", "50 voxels fitted in memory: scores differ by at most"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "extract-parts --network torchvision/squeezenet1_1 --layers features.3 --clips 1 --every 45 --pools mean",
            ("forward pass alone: ", "frames prepared: ", "mean, from mp4 files: "),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "transformers --small --stimuli 1 --rounds 1 --precision float32",
            ("V-JEPA2-g: ", "ViT-g: ", "5 layers pooled", "forward pass alone: ", "ratio: "),
            marks=[pytest.mark.slow, needs_transformers],
        ),
    ],
)
def test_a_command_prints_its_facts(command: str, said: tuple[str, ...]) -> None:
    done = CliRunner().invoke(benchmark, command.split())
    assert done.exit_code == 0, done.output
    for text in said:
        assert text in done.output


def test_every_command_has_help() -> None:
    for name in benchmark.commands:
        done = CliRunner().invoke(benchmark, [name, "--help"])
        assert done.exit_code == 0
        assert "Usage: " in done.output
