"""How well the response to each stimulus was predicted, against NumPy one stimulus at a time."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.report.conftest import read_page
from voxelcast.experiment import stimulus_scores
from voxelcast.experiment.stimulus_scores import pattern_r, stimulus_rows
from voxelcast.results.read import extreme_stimuli
from voxelcast.testing.results import write_output


def test_pattern_correlation_is_that_of_standardised_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    measured = rng.normal(3, 5, (30, 11))
    predicted = measured + rng.normal(0, 4, (30, 11))
    measured[4, 2] = np.nan  # this voxel, and the constant one, are left out
    predicted[:, 7] = 1.0
    keep = [k for k in range(11) if k not in (2, 7)]
    y, p = ((a[:, keep] - a[:, keep].mean(0)) / a[:, keep].std(0) for a in (measured, predicted))
    wanted = [np.corrcoef(y[k], p[k])[0, 1] for k in range(30)]
    np.testing.assert_allclose(pattern_r(measured, predicted), wanted, atol=1e-12)
    monkeypatch.setattr(stimulus_scores, "_AT_ONCE", 4)
    np.testing.assert_allclose(pattern_r(measured, predicted), wanted, atol=1e-12)
    assert np.isnan(pattern_r(measured[:, :2], predicted[:, :2])).all()


def test_subjects_who_saw_other_stimuli_are_averaged_by_stimulus() -> None:
    scores = {("a", "V1"): (["x", "y"], np.array([0.2, np.nan])), ("b", "V1"): (["y", "x"], np.array([0.5, 0.4]))}
    rows = stimulus_rows(scores)
    assert {(row["stimulus_id"], row["n_subjects"]) for row in rows} == {("x", 2), ("y", 1)}
    assert {row["stimulus_id"]: row["pattern_r"] for row in rows} == pytest.approx({"x": 0.3, "y": 0.5})


def test_no_stimulus_is_both_best_and_worst() -> None:
    table = pd.DataFrame({"roi": "V1", "stimulus_id": list("abcde"), "pattern_r": [0.1, 0.5, 0.3, -0.2, 0.4]})
    assert extreme_stimuli(table) == [
        ("best-1", "b", 0.5),
        ("best-2", "e", 0.4),
        ("worst-1", "d", -0.2),
        ("worst-2", "a", 0.1),
    ]
    assert (
        len(extreme_stimuli(pd.concat([table.assign(stimulus_id=table["stimulus_id"] + str(k)) for k in range(9)])))
        == 12
    )


def test_the_report_shows_the_pictures_that_are_there(tmp_path: Path) -> None:
    output = write_output(tmp_path / "output")
    assert "Stimuli predicted" not in read_page(output).text
    buffer = io.BytesIO()
    Image.new("RGB", (16, 9)).save(buffer, format="JPEG")
    some = np.frombuffer(buffer.getvalue(), dtype=np.uint8)
    np.savez(output / "thumbnails.npz", **{"best-2": some, "worst-1": some})
    page = read_page(output)
    pictures = [a for a in page.attributes("img") if a["src"].startswith("data:image/jpeg")]
    assert [a["alt"] for a in pictures] == [
        "Stimulus 0001.png, of those predicted best: pattern correlation 0.890.",
        "Stimulus 0019.png, of those predicted worst: pattern correlation 0.710.",
    ]
    assert "Stimuli predicted best and worst" in page.text
