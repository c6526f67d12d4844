"""``voxelcast ask``: what it prints and writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.cli.conftest import Call
from tests.models.planted import cell_weights, plant


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A planted model in ``models``, four pictures in ``one`` and four in ``other``."""
    monkeypatch.chdir(tmp_path)
    corner = cell_weights(0, 0)
    plant(tmp_path / "models", {"V1": np.stack([corner, -corner], axis=1), "V2": cell_weights(3, 3)[:, None]})
    for folder, (row, column) in {"one": (0, 0), "other": (2, 2)}.items():
        (tmp_path / folder).mkdir()
        for k in range(4):
            picture = np.full((64, 64, 3), 40, dtype=np.uint8)
            picture[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 120 + 40 * k
            Image.fromarray(picture).save(tmp_path / folder / f"{folder}{k}.png")
    return tmp_path


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_rank(call: Call, asked: Path) -> None:
    done = call("ask", "rank", "models", "one", "--roi", "V1", "--voxel", "0", "--to", "answers")
    assert done.code == 0, done.err
    assert "has the largest predicted response of s1 V1, voxel 0" in done.out
    assert done.out.endswith("page: answers/rank.html\n")
    assert written(asked / "answers") == ["curve.png", "highest.png", "lowest.png", "rank.csv", "rank.html"]
    table = pd.read_csv("answers/rank.csv")
    assert sorted(table["stimulus_id"]) == ["one0", "one1", "one2", "one3"]
    assert (np.diff(table["response"]) <= 0).all()
    before = Path("answers/rank.csv").read_bytes()
    done = call("ask", "rank", "models", "other", "--roi", "V1", "--to", "answers")
    assert (done.code, done.err) == (1, "voxelcast: answers is there already; choose another --to\n")
    assert Path("answers/rank.csv").read_bytes() == before
    done = call("ask", "rank", "models", "one")
    assert done.code == 1
    assert "say of which subject and ROI" in done.err


def test_contrast(call: Call, asked: Path) -> None:
    done = call("ask", "contrast", "models", "one", "other", "--to", "answers")
    assert done.code == 0, done.err
    assert "V1: 2 voxels prefer" not in done.out  # of two opposite voxels one prefers each
    assert "... " not in done.out
    assert written(asked / "answers") == ["contrast.csv", "contrast.html", "effects_V1.png", "effects_V2.png"]
    table = pd.read_csv("answers/contrast.csv")
    assert table["p_value"].tolist()[:2] == [2 / 70, 2 / 70]  # the most extreme of 70 ways, and its mirror image


def test_responses(call: Call, asked: Path) -> None:
    done = call("ask", "responses", "models", "one/one3.png", "--to", "answers")
    assert done.code == 0, done.err
    assert written(asked / "answers") == ["responses.csv", "responses.html", "rois.png", "stimulus.png"]
    assert pd.read_csv("answers/responses.csv")["roi"].tolist() == ["V1", "V2"]


def test_drivers(call: Call, asked: Path) -> None:
    done = call("ask", "drivers", "models", "one/one3.png", "--roi", "V1", "--voxel", "1", "--to", "answers")
    assert done.code == 0, done.err
    assert "of one3 lowers the predicted response of s1 V1, voxel 1 most" in done.out
    expected = ["drivers.csv", "drivers.html", "gradient.png", "occlusion.png", "picture.png"]
    assert written(asked / "answers") == expected
    done = call("ask", "drivers", "models", "one", "--roi", "V1")
    assert done.code == 1
    assert "give one picture" in done.err
    done = call("ask", "drivers", "models", "one/one3.png", "--roi", "V1", "--weights", "nothing")
    assert (done.code, done.err) == (1, "voxelcast: --weights must be NETWORK=FILE; got 'nothing'\n")
