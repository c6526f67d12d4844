"""Reports of incomplete results, and folders that cannot be reported on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.report.conftest import read_page
from voxelcast.core.errors import ConfigError, DataError, MissingFileError, VoxelcastError
from voxelcast.report.page import write_report
from voxelcast.testing.results import write_output

pytestmark = pytest.mark.usefixtures("unrendered")


def _edit(output: Path, change: Callable[[pd.DataFrame], pd.DataFrame], name: str = "scores.csv") -> None:
    change(pd.read_csv(output / name)).to_csv(output / name, index=False)


def test_one_subject_one_roi_no_ceiling(tmp_path: Path) -> None:
    page = read_page(write_output(tmp_path / "o", rois=["all"], n_layers=1, n_settings=2, ceilings=False))
    score = pd.read_csv(tmp_path / "o" / "scores.csv")["score"][0]
    assert f"The mean nested cross-validated Pearson r is {score:.3f}" in page.text
    assert "in ROI all of sub01." in page.text
    assert "Noise-normalised scores are not available" in page.text
    assert "noise ceiling r" not in page.text
    assert "mean over ROIs" not in page.text
    assert list(page.table("Scores by ROI")["ROI"]) == ["all"]


def test_roi_missing_for_a_subject_and_nan_scores(tmp_path: Path) -> None:
    output = write_output(tmp_path / "o", subjects=["sub01", "sub02", "sub03"], rois=["V1", "V2"])
    scores = pd.read_csv(output / "scores.csv")
    scores = scores.drop(index=scores.index[(scores["subject"] == "sub02") & (scores["roi"] == "V2")])
    at = (scores["subject"] == "sub03") & (scores["roi"] == "V2")
    scores.loc[at, ["score", "score_low", "score_high", "noise_normalised_r"]] = np.nan
    scores.to_csv(output / "scores.csv", index=False)
    page = read_page(output)
    heat = page.table("Nested").set_index("ROI")
    alone = f"{scores[(scores['subject'] == 'sub01') & (scores['roi'] == 'V2')]['score'].iloc[0]:.3f}"
    assert list(heat.loc["V2"]) == [alone, "—", "—", alone]
    assert "2 cells without a number" in page.text
    assert page.table("Scores by ROI").set_index("ROI").loc["V2", "subjects"] == "1"


def test_no_finite_score_at_all(tmp_path: Path) -> None:
    output = write_output(tmp_path / "o", rois=["V1", "V2"])
    numbers = ["selection_score", "score", "score_low", "score_high", "noise_ceiling_r", "noise_normalised_r"]
    _edit(output, lambda t: t.assign(**dict.fromkeys(numbers, np.nan)))
    _edit(output, lambda t: t.assign(score=np.nan), "search.csv")
    page = read_page(output)
    assert "No subject and ROI has a finite score" in page.text
    assert "No pair of subject and ROI has a finite score." in page.text


def test_selection_score_is_not_called_performance(tmp_path: Path) -> None:
    output = write_output(tmp_path / "o", rois=["V1", "V2"])
    _edit(output, lambda t: t.assign(score=np.nan, score_low=np.nan, score_high=np.nan, score_from="none"))
    page = read_page(output)
    assert "The mean selection score is" in page.text
    assert "therefore too high: performance was not measured" in page.text
    assert "nested cross-validated" not in page.text
    assert "95 % interval " not in page.text
    assert set(page.table("The model chosen")["score from"]) == {"not measured"}
    assert "—" in page.table("Scores by ROI")["95 % interval"].iloc[0]


@pytest.mark.parametrize(
    ("score_from", "words"),
    [
        (["held_out", "held_out"], "The mean Pearson r on held-out stimuli is"),
        (["held_out", "nested_cv"], "nested cross-validated for some pairs, on held-out stimuli for others"),
    ],
)
def test_scores_of_other_origin_say_so(tmp_path: Path, score_from: list[str], words: str) -> None:
    output = write_output(tmp_path / "o", rois=["V1", "V2"])
    _edit(output, lambda t: t.assign(score_from=score_from))
    assert words in read_page(output).text


def test_negative_scores_have_a_true_minus(tmp_path: Path) -> None:
    output = write_output(tmp_path / "o", rois=["V1", "V2"])
    _edit(output, lambda t: t.assign(score=[-0.0123, 0.2]))
    page = read_page(output)
    assert page.table("Nested").iloc[0, 1] == "−0.012"
    assert "-0.012" not in page.text


def test_empty_search_layers_exclusions_and_no_voxels(tmp_path: Path) -> None:
    output = write_output(tmp_path / "o")
    for name in ("search.csv", "layers.csv", "exclusions.csv"):
        _edit(output, lambda t: t.iloc[:0], name)
    for path in [*(output / "voxels").iterdir(), output / "examples.npz", output / "weights.csv"]:
        path.unlink()
    (output / "notes.json").write_text("[]")
    page = read_page(output)
    assert [a["alt"][:14] for a in page.attributes("img")] == ["Scores by ROI:"]
    for sentence in ("No candidate was recorded", "left no scores of single voxels", "Nothing was excluded."):
        assert sentence in page.text
    assert "To know before" not in page.text


def test_voxels_of_some_pairs_and_keys_only(tmp_path: Path) -> None:
    output = write_output(tmp_path / "o", subjects=["sub01", "sub02"])
    (output / "voxels" / "sub01_V1.npz").unlink()
    np.savez(output / "voxels" / "sub02_V1.npz", pearson_r=np.array([0.1, np.nan, 0.3]))
    page = read_page(output)
    assert "1 pair of subject and ROI left no scores of single voxels." in page.text
    assert any("score: 2 voxels, mean 0.200" in a["alt"] for a in page.attributes("img"))


def test_only_held_out_stimuli_were_judged(tmp_path: Path) -> None:
    """Then the ceiling beside the voxels is that of the held-out responses."""
    output = write_output(tmp_path / "o")
    arrays = {"held_out_r": [0.2, 0.4], "held_out_noise_ceiling_r": [0.5, 0.7], "noise_ceiling_r": [0.1, 0.1]}
    np.savez(output / "voxels" / "sub01_V1.npz", **{key: np.array(values) for key, values in arrays.items()})
    alt = next(a["alt"] for a in read_page(output).attributes("img") if a["alt"].startswith("Distribution"))
    assert "noise ceiling: mean 0.600; held-out stimuli: mean 0.300." in alt


def test_voxels_without_a_score_are_counted(tmp_path: Path) -> None:
    output = write_output(tmp_path / "o", rois=["V1", "V2"])
    assert "without score" not in read_page(output).table("The model chosen").columns
    _edit(output, lambda t: t.assign(n_voxels_without_score=[0, 3]))
    assert list(read_page(output).table("The model chosen")["without score"]) == ["0", "3"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("interval: {level: 0.9}", "(90 % interval 0."),
        ("interval: {level: 0.999}", "(99.9 % interval 0."),
        ("", "(interval 0."),
    ],
)
def test_interval_is_called_by_its_level(tmp_path: Path, setting: str, words: str) -> None:
    output = write_output(tmp_path / "o", n_layers=1, n_settings=2)
    (output / "config.yaml").write_text(f"name: a\n{setting}\n")
    assert words in read_page(output).text


def test_settings_of_several_and_of_no_numbers(tmp_path: Path) -> None:
    """Each number gets a panel, the best over the others; text settings get none."""
    output = write_output(tmp_path / "o", n_layers=1, n_settings=4)
    both = ["kernel=rbf; width=1; alpha=0.1", "kernel=rbf; width=2; alpha=0.1", "kernel=rbf; width=1; alpha=10", ""]
    _edit(output, lambda t: t.assign(hyperparameters=both, encoder="kernel", score=[0.1, 0.3, 0.2, 0.0]), "search.csv")
    _edit(output, lambda t: t.assign(hyperparameters=both[1], encoder="kernel"))
    alts = [a["alt"] for a in read_page(output).attributes("img") if "score in V1 against" in a["alt"]]
    assert len(alts) == 2
    assert "against kernel: width, 2 values from 1 to 2." in alts[0]
    assert "0.300, at 2. Chosen values: 2." in alts[0]
    assert "against kernel: alpha, 2 values from 0.1 to 10." in alts[1]
    assert "0.300, at 0.1." in alts[1]


def test_names_that_look_like_numbers_stay_names(tmp_path: Path) -> None:
    output = write_output(tmp_path / "o", subjects=["01", "02"], rois=["007", "nan"])
    table = read_page(output).table("Nested")
    assert list(table["ROI"]) == ["007", "nan"]
    assert list(table.columns) == ["ROI", "01", "02", "mean"]


def test_many_rois_get_tables_but_not_all_get_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxelcast.report.page.MOST_PANELS", 2)
    page = read_page(write_output(tmp_path / "o", rois=["a", "b", "c", "d"], n_layers=1, n_settings=2))
    assert "Figures are shown for the first 2 ROIs; 2 ROIs more are in the tables" in page.text
    assert list(page.table("Nested")["ROI"]) == ["a", "b", "c", "d"]
    assert not any("Layer profile of c." in a["alt"] for a in page.attributes("img"))


FILES = ["config.yaml", "provenance.json", "scores.csv", "search.csv", "exclusions.csv", "layers.csv", "notes.json"]


@pytest.mark.parametrize("name", FILES)
def test_missing_file(tmp_path: Path, name: str) -> None:
    output = write_output(tmp_path / "o")
    (output / name).unlink()
    with pytest.raises(MissingFileError, match=f"{name} does not exist; a report needs it"):
        write_report(output)
    assert not (output / "report.html").exists()


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no folder; give the output folder"):
        write_report(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("notes.json", "{", DataError, "notes.json cannot be read as JSON"),
        ("notes.json", json.dumps({"a": 1}), DataError, "must hold a list; got dict"),
        ("config.yaml", "a: [", ConfigError, "config.yaml is not YAML"),
        ("provenance.json", "[]", DataError, "must hold a dict; got list"),
        ("scores.csv", "subject,roi\nsub01,V1\n", DataError, r"lacks the column\(s\) network, weights"),
        ("scores.csv", "", DataError, "cannot be read as CSV"),
        ("layers.csv", "network,layer,n_features,n_components,explained_variance\na,b,many,1,1\n", DataError,
         "the column n_features must hold numbers; got e.g. 'many'"),
    ],
)  # fmt: skip
def test_file_that_cannot_be_understood(
    tmp_path: Path, name: str, text: str, error: type[VoxelcastError], message: str
) -> None:
    output = write_output(tmp_path / "o")
    (output / name).write_text(text)
    with pytest.raises(error, match=message) as caught:
        write_report(output)
    assert "\n" not in str(caught.value)


def test_scores_without_rows_or_with_a_pair_twice(tmp_path: Path) -> None:
    output = write_output(tmp_path / "o")
    _edit(output, lambda t: pd.concat([t, t]))
    with pytest.raises(DataError, match="one row per subject and ROI"):
        write_report(output)
    _edit(output, lambda t: t.iloc[:0])
    with pytest.raises(DataError, match="has no results"):
        write_report(output)
