"""Pages of answers: what they say, for everyone, and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.browser import Visit
from voxelcast.report.answers import contrast_answer, drivers_answer, number, ranking, responses_answer

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
ABOUT = {"target": "s1 V1", "unit": "z", "score": 0.4, "noise_ceiling_r": 0.6}


def ranked(n: int = 30, *, low: float = 1.0) -> pd.DataFrame:
    response = np.sort(RNG.standard_normal(n))[::-1]
    table = pd.DataFrame({"rank": np.arange(1, n + 1), "stimulus_id": [f"=s{k}" for k in range(n)]})
    table = table.assign(response=response, low=response - low, high=response + low, standardised=response)
    table = table.assign(novelty=1.0, novelty_p=0.5, unlike=np.arange(n) == 1)
    table.attrs.update(ABOUT, level=0.95, no_interval="" if np.isfinite(low) else "its run was not nested")
    return table


def contrasted() -> pd.DataFrame:
    effect = np.array([2.0, 0.1, -2.0, 0.0])
    table = pd.DataFrame({"subject": "s1", "roi": ["V1", "V1", "V1", "<b>"], "voxel": [0, 1, 2, 0], "effect": effect})
    table = table.assign(difference=effect, p_value=[0.001, 0.5, 0.001, 1.0], q_value=[0.003, 0.5, 0.003, 1.0])
    table = table.assign(pearson_r=[0.3, 0.2, 0.1, np.nan], noise_ceiling_r=0.5)
    table.attrs.update(n_stimuli=[3, 4], n_unlike=[0, 2])
    return table


def test_what_a_ranking_says(tmp_path: Path) -> None:
    answer = ranking(ranked(), dict.fromkeys([f"=s{k}" for k in range(30)], PICTURE), "m")
    assert answer.lead.startswith("Of 30 stimuli, =s0 has the largest predicted response of s1 V1")
    assert "r = 0.400, of at most 0.600" in answer.notes[0]
    assert answer.notes[1].startswith("1 of 30 stimuli is unlike")
    assert [drawn.name for drawn in answer.figures] == ["highest", "lowest", "curve"]
    answer.write(tmp_path / "out")
    assert (tmp_path / "out" / "rank.csv").read_text().splitlines()[1].startswith("1,'=s0,")  # no formula
    unknown = ranking(ranked(low=np.nan), {}, "m")
    assert unknown.notes[-1] == "No intervals: its run was not nested."
    assert [drawn.name for drawn in unknown.figures] == ["curve"]


def test_what_a_contrast_says() -> None:
    answer = contrast_answer(contrasted(), "faces", "houses", "m")
    assert answer.lead.startswith("V1: 1 voxels prefer faces, 1 prefer houses, of 3; <b>: 0 voxels")
    assert answer.notes[1].startswith("houses: 2 of 4 stimuli are unlike")
    assert answer.figures[0].alt == "Each voxel of V1 by its effect and its score: 2 of 3 are significant."
    assert answer.figures[1].name == "effects__b_"


@pytest.mark.parametrize(("row", "column", "where"), [(0, 0, "top left"), (4, 4, "middle"), (7, 3, "bottom middle")])
def test_where_a_picture_drives_is_told_in_words(row: int, column: int, where: str) -> None:
    occlusion = np.zeros((8, 8))
    occlusion[row, column] = 0.5
    about = {**ABOUT, "name": "cat", "response": 2.0, "no_gradient": "it has none", "unlike": True}
    answer = drivers_answer(about, PICTURE, {"occlusion": occlusion}, pd.DataFrame({"row": [0]}), "m")
    assert answer.lead.startswith(
        f"Covering the {where} of cat lowers the predicted response of s1 V1 most: by 0.500 of"
    )
    assert any("No gradient: it has none." in note for note in answer.notes)


def test_small_numbers_keep_their_digits() -> None:
    shown = [number(value) for value in (0.0, 1.23456, -0.000012, float("nan"), -0.5)]
    assert shown == ["0.000", "1.235", "−1.2e−05", "—", "−0.500"]


@pytest.mark.parametrize("width", [1280, 390])
def test_offline_without_a_fault_and_for_everyone(visit: Callable[..., Visit], tmp_path: Path, width: int) -> None:
    rois = pd.DataFrame({"subject": "s1", "roi": ["V1", "V2"], "response": [1.0, -1.0], "standardised": [0.5, -1.0]})
    rois = rois.assign(unit="z", score=0.2, unlike=False)
    rois.attrs["stimulus_id"] = "cat"
    maps = {"gradient": RNG.random((32, 32)), "occlusion": RNG.standard_normal((8, 8))}
    about = {**ABOUT, "name": "cat", "response": 2.0, "no_gradient": "", "unlike": False}
    answers = (
        ranking(ranked(), dict.fromkeys([f"=s{k}" for k in range(30)], PICTURE), "m"),
        contrast_answer(contrasted(), "faces", "houses", "m"),
        responses_answer(rois, PICTURE, "m"),
        drivers_answer(about, PICTURE, maps, pd.DataFrame({"row": [0], "occlusion": [0.1]}), "m"),
    )
    for answer in answers:
        page = answer.write(tmp_path / answer.name)
        visited = visit(page, width=width, offline=True)
        assert visited.requests == [page.resolve().as_uri()]
        assert visited.audit() == []
        assert visited.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visited.problems == []
