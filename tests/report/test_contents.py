"""The numbers of the page are those of the files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.report.conftest import Page, read_page
from voxelcast.report.heatmap import percent
from voxelcast.report.summary import choose_measure, findings, overall_row, roi_rows
from voxelcast.results.read import read_results
from voxelcast.testing.results import write_output

ROIS = ["V1", "LOC", "mine"]
HEATMAPS = {"Nested cross-validated Pearson r": "score", "Noise-normalised Pearson r": "noise_normalised_r"}


def _shown(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


@pytest.fixture(scope="module")
def scores(several: Path) -> pd.DataFrame:
    return pd.read_csv(several / "scores.csv")


@pytest.mark.parametrize(("label", "column"), HEATMAPS.items())
def test_heatmap(page: Page, scores: pd.DataFrame, label: str, column: str) -> None:
    table = page.table(label)
    assert list(table["ROI"]) == ROIS
    assert list(table.columns) == ["ROI", "sub01", "sub02", "sub03", "mean"]
    for _, row in table.iterrows():
        values = scores[scores["roi"] == row["ROI"]].set_index("subject")[column]
        assert [row[s] for s in values.index] == [_shown(value) for value in values]
        assert row["mean"] == _shown(np.mean(values))


def test_table_by_roi(page: Page, scores: pd.DataFrame) -> None:
    table = page.table("Scores by ROI").set_index("ROI")
    assert list(table.index) == [*ROIS, "mean over ROIs"]
    columns = {
        "score": "score",
        "noise ceiling r": "noise_ceiling_r",
        "noise-normalised r": "noise_normalised_r",
        "held-out r": "held_out_score",
        "held-out ceiling r": "held_out_noise_ceiling_r",
        "selection score": "selection_score",
    }
    means = scores.groupby("roi")[[*columns.values(), "score_low", "score_high"]].mean()
    means.loc["mean over ROIs"] = means.mean()
    for roi in table.index:
        for shown, column in columns.items():
            assert table.loc[roi, shown] == _shown(means.loc[roi, column])
        low, high = means.loc[roi, ["score_low", "score_high"]]
        assert table.loc[roi, "95 % interval"] == f"{_shown(low)} to {_shown(high)}"
        assert table.loc[roi, "subjects"] == "3"


def test_findings(page: Page, scores: pd.DataFrame) -> None:
    means = scores.groupby("roi")["score"].mean()
    assert f"The mean nested cross-validated Pearson r is {_shown(means.mean())} (95 % interval" in page.text
    assert "over 3 ROIs and 3 subjects." in page.text
    best, worst = means.idxmax(), means.idxmin()
    assert f"highest in {best} ({_shown(means[best])}) and lowest in {worst} ({_shown(means[worst])})" in page.text
    held_out, ceiling = scores["held_out_score"].mean(), scores["held_out_noise_ceiling_r"].mean()
    assert f"which no choice saw, mean Pearson r is {_shown(held_out)} (noise ceiling {_shown(ceiling)})." in page.text


@pytest.mark.parametrize(
    ("layers", "pools", "encoders", "said"),
    [
        (["a"], [""], ["pls"], "Chosen: net: a, with the encoder pls."),
        (["a"], ["max"], ["pls"], "Chosen: net: a, with the pool max and the encoder pls."),
        (["a", "b", "a"], ["max", "max", ""], ["pls", "ridge", "ridge"],
         "Chosen most often: net: a (2 of 3 pairs of subject and ROI), the pool max (2 of 3) and the encoder ridge "
         "(2 of 3)."),
        (["a", "b"], ["", ""], ["pls", "ridge"],
         "Chosen most often: net: a and net: b (1 of 2 pairs of subject and ROI each) "
         "and the encoders pls and ridge (1 of 2 each)."),
        (["a", "b", "c"], [""] * 3, ["pls"] * 3,
         "Chosen most often: net: a, net: b and net: c (1 of 3 pairs of subject and ROI each) "
         "and the encoder pls (3 of 3)."),
        (["a", "b", "c", "d"] * 2 + ["e"], ["mean"] * 9, ["pls"] * 9,
         "No layer was chosen most often: 4 layers were each chosen for 2 of 9 pairs of subject and ROI. "
         "Chosen most often: the pool mean (9 of 9) and the encoder pls (9 of 9)."),
    ],
)  # fmt: skip
def test_what_was_chosen_most_often(
    several: Path, layers: list[str], pools: list[str], encoders: list[str], said: str
) -> None:
    """All that share the first place are named, or counted where they are many."""
    results = read_results(several)
    some = results.scores.iloc[: len(layers)].assign(network="net", layer=layers, pool=pools, encoder=encoders)
    chosen, measure = replace(results, scores=some), choose_measure(some)
    rows = roi_rows(chosen, measure)
    assert findings(chosen, measure, rows, overall_row(rows))[-1] == said


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100 %"), (981 / 985, "over 99 %"), (0.99, "99 %"), (0.004, "under 1 %"), (0.0, "0 %"), (np.nan, "—")],
)
def test_all_and_none_are_said_of_nothing_less(share: float, text: str) -> None:
    assert percent(share) == text


def test_chosen_models(page: Page, scores: pd.DataFrame) -> None:
    table = page.table("The model chosen")
    assert [tuple(row) for row in table[["ROI", "subject"]].to_numpy()] == [
        (roi, s) for roi in ROIS for s in ("sub01", "sub02", "sub03")
    ]
    wanted = scores.set_index(["roi", "subject"])
    for _, row in table.iterrows():
        source = wanted.loc[(row["ROI"], row["subject"])]
        network = f"{source['network']} ({source['weights']})"
        assert row["network and layer"].split() == [*network.split(), source["layer"]]
        assert row["encoder and settings"].split() == [source["encoder"], source["hyperparameters"]]
        assert row["voxels"] == f"{source['n_voxels']} {source['n_significant_voxels']} significant"
        score, held_out = (
            f"{_shown(source[name])} {_shown(source[low])} to {_shown(source[high])}"
            for name, low, high in (
                ("score", "score_low", "score_high"),
                ("held_out_score", "held_out_low", "held_out_high"),
            )
        )
        assert (row["score"], row["held-out r"]) == (score, held_out)
        assert row["selection score"] == _shown(source["selection_score"])
        assert row["held-out ceiling r"] == _shown(source["held_out_noise_ceiling_r"])
    assert "All scores are from nested CV." in page.text


def test_layers(page: Page, several: Path, scores: pd.DataFrame) -> None:
    table, source = page.table("Layers by depth"), pd.read_csv(several / "layers.csv")
    heads = table["no."].str.startswith("torchvision/")
    assert list(table.loc[heads, "no."]) == [f"{name} (random)" for name in dict.fromkeys(source["network"])]
    table = table[~heads]
    assert list(table["layer"]) == list(source["layer"])
    assert list(table["no."]) == ["1", "2", "3", "4"] * 2
    assert list(table["features"]) == [f"{n:,}" for n in source["n_features"]]
    assert list(table["variance explained"]) == [f"{100 * v:.1f} %" for v in source["explained_variance"]]
    counts = [
        ((scores["network"] == n) & (scores["layer"] == k)).sum()
        for n, k in zip(source["network"], source["layer"], strict=True)
    ]
    assert list(table["chosen"]) == [str(count) if count else "" for count in counts]


def test_layer_profile_speaks_of_the_best_layer(page: Page, several: Path) -> None:
    search = pd.read_csv(several / "search.csv")
    for roi in ROIS:
        alt = next(a["alt"] for a in page.attributes("img") if a["alt"].startswith(f"Layer profile of {roi}."))
        for network, group in search[search["roi"] == roi].groupby("network"):
            best = group.groupby(["layer", "subject"])["score"].max().groupby("layer").mean()
            assert f"{network} (random): highest mean selection score {_shown(best.max())}" in alt
            assert f"of 4, {best.idxmax()}." in alt


def test_search_speaks_of_the_best_score(page: Page, several: Path) -> None:
    search = pd.read_csv(several / "search.csv")
    for roi in ROIS:
        alt = next(a["alt"] for a in page.attributes("img") if a["alt"].startswith(f"Search in {roi}:"))
        best = search[search["roi"] == roi].groupby("subject")["score"].max().mean()
        assert f"48 candidates per subject, mean best selection score {_shown(best)}" in alt
    assert f"{len(search)} candidates were tried in all" in page.text


def test_the_best_so_far_is_shown_of_searches_in_trials_alone(page: Page, tmp_path: Path) -> None:
    assert "best so far" in page.text
    assert "best so far" not in read_page(write_output(tmp_path / "exact", n_layers=2)).text


def test_voxel_histogram_speaks_of_the_mean(page: Page, several: Path) -> None:
    for roi in ROIS:
        alt = next(
            a["alt"] for a in page.attributes("img") if a["alt"].startswith(f"Distribution over voxels in {roi}.")
        )
        arrays = [np.load(several / "voxels" / f"{s}_{roi}.npz") for s in ("sub01", "sub02", "sub03")]
        pooled = {key: np.concatenate([a[key] for a in arrays]) for key in arrays[0].files}
        assert f"score: 120 voxels, mean {_shown(pooled['pearson_r'].mean())}" in alt
        assert f"noise ceiling: mean {_shown(pooled['noise_ceiling_r'].mean())}" in alt
        assert f"held-out stimuli: mean {_shown(pooled['held_out_r'].mean())}" in alt


def test_exclusions_notes_settings_provenance(page: Page, several: Path) -> None:
    table = page.table("Excluded")
    assert list(table["how many"]) == ["1", "12"]
    assert list(table["names"]) == ["0007_broken.mp4", "0, 1, 2, 3, 4, 5, 6, 7 and 4 more"]
    assert list(table["reason"]) == ["the container claims 90 frames, 31 decoded", "constant responses"]
    assert "weights of torchvision/resnet18 are random (seed 0)" in page.text
    assert (several / "config.yaml").read_text() in page.text
    steps = page.table("Time and memory per kind of step").set_index("step")
    assert list(steps.loc["fit"])[:4] == ["9", "14 s", "1.50 s", "321 MB"]
    assert list(steps.loc["extract"])[:4] == ["2", "2 min 48 s", "1 min 24 s", "1.2 GB"]
    assert "Version 0.1.0, commit 0123abc." in page.text
    assert "Made-up responses: Nobody (2026) (licence: CC0)" in page.text
    provenance = dict(page.table("provenance.json").to_numpy())
    assert provenance["git.commit"] == "0123abc"
    assert provenance["packages.torch"] == "2.15.0"
    assert provenance["weights.torchvision/resnet18"] == "random, seed 0"


def test_rois_come_in_visual_order(several: Path) -> None:
    results = read_results(several)
    assert results.rois == ("V1", "LOC", "mine")
    assert results.subjects == ("sub01", "sub02", "sub03")


def test_layer_chosen(page: Page, several: Path, scores: pd.DataFrame) -> None:
    table = page.table("Layer chosen").set_index("ROI")
    assert list(table.columns) == ["sub01", "sub02", "sub03"]
    order = list(pd.read_csv(several / "layers.csv")["layer"][:4])
    letters = {"torchvision/resnet18": "A", "torchvision/alexnet": "B"}
    for row in scores.itertuples():
        assert (
            table.loc[row.roi, row.subject] == f"{letters[row.network]}\N{NO-BREAK SPACE}{order.index(row.layer) + 1}"
        )
    titles = [a["title"] for a in page.attributes("td") if "of 4, " in a.get("title", "")]
    assert len(titles) == 9


def test_significance(page: Page, scores: pd.DataFrame) -> None:
    table = page.table("Share of significant voxels").set_index("ROI")
    for row in scores.itertuples():
        assert table.loc[row.roi, row.subject] == f"{100 * row.n_significant_voxels / row.n_voxels:.0f} %"
    found, of = scores["n_significant_voxels"].sum(), scores["n_voxels"].sum()
    assert f"{found:,} of {of:,} voxels ({100 * found / of:.0f} %) are predicted better than chance" in page.text


def test_weights_of_combined_models(page: Page, several: Path) -> None:
    table, weights = page.table("Weights of the layers"), pd.read_csv(several / "weights.csv")
    final = weights[weights["fold"] == "all"]
    for roi, shown in table.groupby("ROI"):
        mean = final[final["roi"] == roi].groupby("layer")["weight"].sum().div(3).sort_values(ascending=False)
        assert list(shown["layer"]) == list(mean.index)
        assert list(shown["weight"]) == [_shown(value) for value in mean]


@pytest.mark.usefixtures("unrendered")
def test_gain_over_the_best_single_model(tmp_path: Path) -> None:
    output = write_output(tmp_path / "o", subjects=["a", "b"])
    table = pd.read_csv(output / "scores.csv")
    table.assign(n_models=[2, 3], single_score=[0.1, 0.3], gain=[0.02, 0.04], gain_low=0.01, gain_high=0.05).to_csv(
        output / "scores.csv", index=False
    )
    row = read_page(output).table("Gain over").iloc[0]
    assert list(row) == ["V1", "2.5", "0.200", "0.030", "0.010 to 0.050"]


def test_numbers_behind_the_chart(page: Page, several: Path, scores: pd.DataFrame) -> None:
    data = json.loads(page.html.split('id="numbers">')[1].split("</script>")[0])
    search = pd.read_csv(several / "search.csv")
    best = search.groupby(["roi", "subject", "network", "layer"])["score"].max()
    chosen = scores.set_index(["roi", "subject"])
    for r, roi in enumerate(data["rois"]):
        for s, subject in enumerate(data["subjects"]):
            for n, network in enumerate(data["networks"]):
                name = network["label"].removesuffix(" (random)")
                wanted = [best[roi, subject, name, layer] for layer in network["layers"]]
                np.testing.assert_allclose(data["scores"][r][s][n], wanted, atol=5.1e-5)
            place, layer = data["chosen"][r][s]
            assert data["networks"][place]["layers"][layer] == chosen.loc[(roi, subject), "layer"]
            assert data["networks"][place]["label"].startswith(chosen.loc[(roi, subject), "network"])


def test_measured_against_predicted_is_of_the_median_subject(page: Page, scores: pd.DataFrame) -> None:
    for roi in ROIS:
        mine = scores[scores["roi"] == roi].sort_values("score")
        alt = next(
            a["alt"] for a in page.attributes("img") if a["alt"].startswith("Measured") and f" in {roi}," in a["alt"]
        )
        assert f"60 stimuli in {roi}, {mine['subject'].iloc[1]}. best, voxel 3: r = " in alt


@pytest.mark.usefixtures("unrendered")
def test_pairs_that_failed_are_named_and_in_no_mean(tmp_path: Path) -> None:
    output = write_output(tmp_path / "whole", subjects=["sub01", "sub02"], rois=["V1", "LOC"])
    whole = read_page(output)
    lost = tmp_path / "lost"
    shutil.copytree(output, lost)
    scores = pd.read_csv(lost / "scores.csv").astype(object)
    failed = (scores["subject"] == "sub02") & (scores["roi"] == "LOC")
    scores.loc[failed, [c for c in scores.columns if c not in ("subject", "roi")]] = np.nan
    scores["missing"] = np.where(failed, "its worker was lost", "")
    scores.to_csv(lost / "scores.csv", index=False)
    assert dict(read_results(lost).missing) == {("sub02", "LOC"): "its worker was lost"}
    page = read_page(lost)
    assert page.table("Nested cross-validated Pearson r").set_index("ROI").loc["LOC", "sub02"] == "—"
    of_one = whole.table("Nested cross-validated Pearson r").set_index("ROI").loc["LOC", "sub01"]
    assert page.table("Scores by ROI").set_index("ROI").loc["LOC", "score"] == of_one
    assert "1 of 4 pairs of subject and ROI is missing" in page.text
    excluded = page.table("Excluded stimuli and voxels, and what failed")
    assert list(excluded.iloc[0])[:5] == ["subject x ROI", "sub02", "LOC", "1", "its worker was lost"]
    assert "ROI is missing" not in whole.text
