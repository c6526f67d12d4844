"""The figures of the report on their own: what they draw is what the results hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from voxelcast.core.errors import DataError, UnknownNameError
from voxelcast.report import plot
from voxelcast.results.read import Results
from voxelcast.testing.results import example_results

NETWORKS = ("torchvision/resnet18", "torchvision/alexnet")


@pytest.fixture(scope="module")
def results() -> Results:
    return example_results(
        subjects=("a", "b"), rois=("EBA", "V1"), networks=NETWORKS, held_out=True, groups=("early", "late")
    )


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    backend = pyplot.get_backend()
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")
    pyplot.switch_backend(backend)


FIGURES: dict[str, Callable[..., Axes]] = {
    "layer_profile": lambda results, **ax: plot.layer_profile(results, "V1", **ax),
    "roi_scores": lambda results, **ax: plot.roi_scores({"one": results, "two": results}, **ax),
    "roi_overview": lambda results, **ax: plot.roi_overview(results, **ax),
    "search_history": lambda results, **ax: plot.search_history(results, "V1", **ax),
    "hyperparameter": lambda results, **ax: plot.hyperparameter(results, "V1", "relative_alpha", **ax),
    "voxel_histogram": lambda results, **ax: plot.voxel_histogram(results, "V1", **ax),
    "measured_and_predicted": lambda results, **ax: plot.measured_and_predicted(results, "a", "V1", **ax),
    "variance_partitioning": lambda results, **ax: plot.variance_partitioning(results, "V1", **ax),
    "layer_similarity": lambda results, **ax: plot.layer_similarity([("n", "l", 0.2, 0.1, 0.3)], **ax),
    "rdm": lambda results, **ax: plot.rdm(np.array([0.1, 0.3, 0.2]), **ax),
    "layer_map": lambda results, **ax: plot.layer_map(results, **ax),
}


@pytest.mark.parametrize("name", FIGURES)
def test_draws_into_the_axes_given_or_into_a_figure_of_pyplot(results: Results, name: str) -> None:
    given = Figure().add_subplot()
    assert FIGURES[name](results, ax=given) is given
    assert given.has_data() or given.texts
    assert pyplot.get_fignums() == []
    made = FIGURES[name](results)
    assert [pyplot.figure(number) for number in pyplot.get_fignums()] == [made.figure]
    made.figure.canvas.draw()


def test_every_public_figure_is_tested_here() -> None:
    assert set(FIGURES) | {"group_matrix"} == set(plot.__all__)


def test_lines_are_the_numbers_of_the_tables(results: Results) -> None:
    search = results.search[results.search["roi"] == "V1"]
    best = search.groupby(["network", "layer", "subject"], sort=False)["score"].max()
    lines = [line for line in plot.layer_profile(results, "V1").lines if line.get_marker() == "o"]
    for line, network in zip(lines, NETWORKS, strict=True):
        np.testing.assert_allclose(line.get_ydata(), best[network].unstack().mean(axis=1))
        assert str(line.get_label()).startswith(network)
    last = [line.get_ydata()[-1] for line in plot.search_history(results, "V1").lines]
    highest = search.groupby("subject")["score"].max()
    assert last == pytest.approx([*highest, highest.mean()])


def test_scores_stand_beside_each_other_with_their_names(results: Results) -> None:
    ax = plot.roi_scores({"one": results, "two": results})
    means = results.scores.groupby("roi")["score"].mean()
    for line, name in zip(ax.lines[:2], ("one", "two"), strict=True):
        assert line.get_label() == name
        np.testing.assert_allclose(line.get_ydata(), means[["V1", "EBA"]])
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["one", "two", "noise ceiling"]


def test_the_overview_has_a_row_for_each_roi(results: Results) -> None:
    ax = plot.roi_overview(results)
    by_roi = results.scores.groupby("roi")
    for place, (dots, mean) in enumerate(zip(ax.lines[0::2], ax.lines[1::2], strict=False)):
        roi = ("V1", "EBA")[place]
        assert sorted(dots.get_xdata()) == sorted(by_roi.get_group(roi)["score"])
        assert mean.get_xdata() == pytest.approx([by_roi["score"].mean()[roi]])
    ends = [collection.get_segments()[0] for collection in ax.collections]
    assert ends[0][:, 0] == pytest.approx(by_roi[["score_low", "score_high"]].mean().loc["V1"])
    assert ends[1][:, 0] == pytest.approx([by_roi["noise_ceiling_r"].mean()["V1"]] * 2)
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["subject", "mean, interval", "noise ceiling"]


def test_axes_of_scores_begin_at_zero_or_at_the_lowest(results: Results) -> None:
    assert plot.layer_profile(results, "V1").get_ylim()[0] == 0
    assert plot.search_history(results, "V1").get_ylim()[0] == 0
    below = plot.layer_profile(example_results(bonus=-0.5), "V1")
    assert below.get_ylim()[0] < min(below.lines[0].get_ydata())


def test_the_layers_chosen_are_marked_on_the_axis(results: Results) -> None:
    ax = plot.layer_profile(results, "V1")
    chosen = results.scores[results.scores["roi"] == "V1"]
    marks = [line for line in ax.lines if line.get_marker() == "^"]
    assert sum(int(text.get_text()) for text in ax.texts) == len(chosen)
    assert [round(x) for line in marks for x in line.get_xdata()] == sorted(
        int(layer.split(".")[1]) + 1 for layer in set(chosen["layer"])
    )


def test_the_map_names_network_and_layer(results: Results) -> None:
    chosen = results.scores.set_index(["roi", "subject"])
    texts = {text.get_position(): text.get_text() for text in plot.layer_map(results).texts}
    for row, roi in enumerate(results.rois):
        for column, subject in enumerate(results.subjects):
            one = chosen.loc[(roi, subject)]
            letter = "AB"[NETWORKS.index(one["network"])]
            assert texts[column, row] == f"{letter}{int(one['layer'].split('.')[1]) + 1}"


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda results: plot.layer_profile(results, "V9"), UnknownNameError, "'V9'"),
        (lambda results: plot.hyperparameter(results, "V1", "gamma"), UnknownNameError, "'gamma'"),
        (lambda results: plot.measured_and_predicted(results, "z", "V1"), DataError, "no example voxel of z V1"),
        (lambda results: plot.variance_partitioning(example_results(), "V1"), DataError, "variance was not divided"),
    ],
)
def test_what_is_not_there_is_named(
    results: Results, draw: Callable[[Results], Axes], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        draw(results)
