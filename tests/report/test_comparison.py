"""Several outputs on one page, against sums by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import t

from tests.report.conftest import Page
from voxelcast.core.errors import MissingFileError, OptionError
from voxelcast.report.comparison import (
    ALL_ROIS,
    Paired,
    Rank,
    differences,
    mean_depth,
    mean_rows,
    paired_differences,
    ranks,
    read_outputs,
    roi_mean,
    warnings_of,
)
from voxelcast.report.comparison_page import write_comparison, write_leaderboard
from voxelcast.report.summary import Mean
from voxelcast.results.read import read_table
from voxelcast.scoring.intervals import Difference
from voxelcast.testing.results import write_output

ROIS = ["V1", "EBA"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two experiments that differ in name, network and compression, with subjects of unlike numbers of voxels."""
    root = tmp_path_factory.mktemp("compared")
    made = []
    for name, network, method in (("first", "torchvision/resnet18", "pca"), ("second", "timm/vit", "umap")):
        output = write_output(
            root / name, subjects=["a", "b"], rois=ROIS, networks=[network], name=name, bonus=0.1 * len(made)
        )
        table = pd.read_csv(output / "scores.csv")
        table.assign(n_voxels=[10, 90, 40, 60], n_voxels_without_score=[0, 10, 0, 0]).to_csv(
            output / "scores.csv", index=False
        )
        rng = np.random.default_rng(len(made))
        arrays = {}
        for roi in ROIS:  # b saw V1's stimuli only
            for subject in ["a", "b"] if roi == "V1" else ["a"]:
                arrays[f"{subject}_{roi}/without"] = rng.standard_normal(20) / 100
                arrays |= {f"{subject}_{roi}/units": np.arange(20), f"{subject}_{roi}/n_folds": np.array(1)}
        np.savez(output / "jackknife.npz", **arrays)
        with (output / "config.yaml").open("a") as file:
            yaml.safe_dump({"networks": [{"name": network, "layers": "all"}], "compress": {"method": method}}, file)
        made.append(output)
    return made


def test_means_by_voxel_and_by_subject(folders: list[Path]) -> None:
    for output in read_outputs(folders):
        table = output.results.scores
        for roi in ROIS:
            mine = table[table["roi"] == roi]
            (a, b), (m, n) = mine["score"], mine["n_voxels"] - mine["n_voxels_without_score"]
            assert roi_mean(output, roi, by_voxel=False).score == pytest.approx((a + b) / 2)
            assert roi_mean(output, roi, by_voxel=True).score == pytest.approx((a * m + b * n) / (m + n))
            assert roi_mean(output, roi, by_voxel=False).ceiling == pytest.approx(mine["noise_ceiling_r"].mean())
            assert roi_mean(output, roi, by_voxel=False).low == pytest.approx(mine["score_low"].mean())
        counts = table["n_voxels"] - table["n_voxels_without_score"]
        assert roi_mean(output, None, by_voxel=True).score == pytest.approx(np.average(table["score"], weights=counts))
        by_roi = table.groupby("roi")["score"].mean()
        assert roi_mean(output, None, by_voxel=False).score == pytest.approx(by_roi.mean())
        assert np.isnan(roi_mean(output, "PPA", by_voxel=True).score)


def test_page_names_every_output(folders: list[Path], tmp_path: Path) -> None:
    path = write_comparison(folders, tmp_path / "both.html")
    page = Page(path.read_text(encoding="utf-8"))
    for by_voxel, way in ((True, "every voxel"), (False, "every subject")):
        table = page.table(f"Nested cross-validated Pearson r, {way} counts the same").set_index("experiment")
        assert list(table.columns) == [*ROIS, "all ROIs"]
        assert list(table.index) == ["second", "first"]  # the best first
        for output in read_outputs(folders):
            for roi in ROIS:
                mean = roi_mean(output, roi, by_voxel=by_voxel)
                shown = f"{mean.score:.3f}{mean.low:.3f} to {mean.high:.3f}".replace("-", "−")
                assert table.loc[output.label, roi] == shown
    settings = page.table("Settings that differ").set_index("setting")
    assert list(settings.loc["compress.method"]) == ["pca", "umap"]
    assert list(settings.loc["networks"]) == ["torchvision/resnet18", "timm/vit"]
    assert set(settings.index) == {"networks", "compress.method"}
    assert list(page.table("Mean over ROIs")["experiment"]) == ["second", "first"]  # the best first
    assert "second has the highest mean nested cross-validated Pearson r over 2 ROIs" in page.text
    assert page.text.count("All: PCA was fitted once") == 1
    assert len(page.attributes("img")) == 4
    assert path.read_bytes() == write_comparison(folders, tmp_path / "again.html").read_bytes()


def test_differences_are_paired_by_stimulus(folders: list[Path], tmp_path: Path) -> None:
    first, second = read_outputs(folders)
    rows = paired_differences([first, second])
    assert {(row.label, row.other) for row in rows} == {("second", "first")}
    found = {row.roi: row.found for row in rows}
    assert found["EBA"] == found["all ROIs"] == "no nested interval"
    judged = found["V1"]
    assert not isinstance(judged, str)
    with_a, with_b = (one.results.jackknife for one in (second, first))
    without = np.mean([with_a[s, "V1"]["without"] - with_b[s, "V1"]["without"] for s in "ab"], axis=0)
    assert judged.value == pytest.approx(
        roi_mean(second, "V1", by_voxel=False).score - roi_mean(first, "V1", by_voxel=False).score
    )
    se = np.sqrt(19 / 20 * np.square(without - without.mean()).sum())
    assert (judged.high - judged.low) / 2 == pytest.approx(t.ppf(0.975, 19) * se)
    assert judged.p == pytest.approx(2 * t.sf(abs(judged.value) / se, 19))
    page = Page(write_comparison(folders, tmp_path / "both.html").read_text(encoding="utf-8"))
    table = page.table("Differences from first").set_index("ROI")
    assert table.loc["V1", "difference"] == f"{judged.value:.3f}".replace("-", "−")
    assert "not judged" in page.text


def test_corrected_differences_bound_the_ranks(folders: list[Path], tmp_path: Path) -> None:
    page = write_leaderboard(folders, tmp_path)
    outputs = read_outputs(folders)
    p = {"a": 0.001, "b": 0.9}
    rows = [Paired(one, "c", ALL_ROIS, Difference(0.1, 0.05, 0.15, p[one]), p[one]) for one in "ab"]
    abc = [replace(outputs[0], label=one) for one in "abc"]
    found = ranks(abc, [Mean(0.5), Mean(0.45), Mean(0.4)], rows, ALL_ROIS)
    assert found == [Rank(1, 1, 2), Rank(2, 1, 3), Rank(3, 2, 3)]
    assert ranks(abc, [Mean(0.5), Mean(), Mean(0.4)], [], ALL_ROIS) == [Rank(1, 1, 2), None, Rank(2, 1, 2)]
    board = read_table(tmp_path / "leaderboard.csv").set_index(["experiment", "roi"])
    for output in outputs:
        for roi in ROIS:
            assert board.loc[(output.label, roi), "score"] == roi_mean(output, roi, by_voxel=False).score
    judged = read_table(tmp_path / "differences.csv").set_index("roi")
    (kept,) = [row for row in paired_differences(outputs) if row.roi == "V1"]
    assert judged.loc["V1", "p_corrected"] == kept.p_corrected
    assert judged.loc["EBA", "not_judged"] == "no nested interval"
    assert "Differences from second" in Page(page.read_text(encoding="utf-8")).text
    turned = kept.turned()
    assert (turned.label, turned.other, turned.turned()) == ("first", "second", kept)


def test_order_of_the_outputs_changes_no_name(folders: list[Path]) -> None:
    there = {o.label: roi_mean(o, "V1", by_voxel=False).score for o in read_outputs(folders)}
    back = {o.label: roi_mean(o, "V1", by_voxel=False).score for o in read_outputs(folders[::-1])}
    assert there == back


def test_outputs_that_cannot_be_compared_as_they_are(folders: list[Path], tmp_path: Path) -> None:
    other = write_output(tmp_path / "first", subjects=["a"], rois=["V1", "mine"], name="first")
    with (other / "config.yaml").open("a") as file:
        yaml.safe_dump({"dataset": {"kind": "folder"}}, file)
    outputs = read_outputs([folders[0], other])
    assert [output.label for output in outputs] == [f"first ({folders[0]})", f"first ({other})"]
    assert [roi for roi, _ in mean_rows(outputs, by_voxel=False)] == ["V1", "EBA", "mine", "all ROIs"]
    found = " ".join(warnings_of(outputs))
    assert "The outputs have different datasets." in found
    assert "different subjects (" in found
    assert "different ROIs (" in found
    assert "seeds" not in found
    assert ("dataset.kind", ("—", "folder")) in differences(outputs)


def test_depth_of_the_chosen_layers(folders: list[Path]) -> None:
    output = read_outputs(folders)[0]
    order = ["layer1.0.conv", "layer1.1.conv", "layer1.2.conv"]
    for roi in ROIS:
        chosen = output.results.scores.loc[output.results.scores["roi"] == roi, "layer"]
        assert mean_depth(output, roi) == pytest.approx(np.mean([(order.index(layer) + 1) / 4 for layer in chosen]))


@pytest.mark.parametrize(
    ("pick", "error", "message"),
    [
        (lambda f: f[:1], OptionError, "needs at least 2 outputs; got 1"),
        (lambda f: [f[0], f[1], f[0]], OptionError, "twice: name each once"),
        (lambda f: [f[0], f[0].parent / "none"], MissingFileError, "no folder; give the output folder"),
    ],
)
def test_refused(
    folders: list[Path],
    tmp_path: Path,
    pick: Callable[[list[Path]], list[Path]],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        write_comparison(pick(folders), tmp_path / "c.html")
    assert not (tmp_path / "c.html").exists()
