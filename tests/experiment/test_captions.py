"""Captions and frames of BOLD Moments in one experiment; the miniature's captions say how clips look and change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.experiment.miniature import read_table, run, write_table
from tests.networks.tiny_transformers import write_tiny
from voxelcast.datasets.registry import open_dataset

pytest.importorskip("transformers")
pytest.importorskip("nibabel")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("in_process"),
    pytest.mark.filterwarnings("ignore::voxelcast.core.errors.VoxelcastWarning"),
]


def test_captions_and_frames_are_stacked_and_their_variance_divided(
    miniature: Callable[[str], Path], tmp_path: Path
) -> None:
    root = miniature("bold_moments")
    write_tiny("gpt2", tmp_path)
    described = open_dataset("bold_moments", root, subjects=["sub-01"], rois=["V1"]).metadata()
    captions = [[video, facts["text_descriptions"][0]] for video, facts in described.items()]  # type: ignore[index]
    write_table(tmp_path / "captions.csv", ["stimulus_id", "text"], captions)
    write_table(tmp_path / "moved.csv", ["stimulus_id", "text"], moved(captions))
    text = {"name": f"hf:{tmp_path / 'gpt2'}", "layers": [2]}
    plain: dict[str, Any] = {
        "name": "captions",
        "dataset": {"kind": "bold_moments", "root": str(root), "subjects": ["sub-01"], "rois": ["V1"]},
        "networks": [
            {"name": "voxelcast/motion_energy", "layers": ["colour", "static.4"], "input_size": 64},
            text | {"label": "captions", "texts": str(tmp_path / "captions.csv")},
            text | {"label": "moved", "texts": str(tmp_path / "moved.csv")},
        ],
        "frames": {"n": 2},
        "compress": {"components": 8},
        "encoders": "ridge",
        "ensemble": {"method": "stacking"},
        "folds": {"n": 5},
        "variance_partitioning": {"groups": {"seen": ["voxelcast/motion_energy"], "said": ["captions"]}},
        "significance": {"permutations": 0},
        "compute": {"workers": 1},
    }

    run(plain, tmp_path / "out")
    (row,) = read_table(tmp_path / "out" / "scores.csv")
    assert float(row["gain"]) > 0.05  # over frames alone
    assert float(row["held_out_score"]) > 0.7
    weights = {
        one["network"]: float(one["weight"])
        for one in read_table(tmp_path / "out" / "weights.csv")
        if one["fold"] == "all" and one["layer"] != "static.4"
    }
    assert weights["voxelcast/motion_energy"] > weights["captions"] > 0.15 > 0.05 > weights["moved"]
    parts = {one["part"]: float(one["r2"]) for one in read_table(tmp_path / "out" / "variance_partitioning.csv")}
    assert parts["seen"] > parts["said"] > 0.03


def moved(captions: list[list[str]]) -> list[list[str]]:
    """Give each video the caption of another."""
    texts = np.random.default_rng(0).permutation([text for _, text in captions])
    return [[video, text] for (video, _), text in zip(captions, texts.tolist(), strict=True)]
