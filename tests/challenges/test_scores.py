"""The official scores against brute force: loops over voxels, splits and runs with np.corrcoef."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from voxelcast.challenges.algonauts2021 import score_2021
from voxelcast.challenges.algonauts2023 import score_2023
from voxelcast.challenges.algonauts2025 import score_2025
from voxelcast.core.errors import AlignmentError, DataError, ShapeError, VoxelcastError

RNG = np.random.default_rng(0)
PARTS_2021 = [(s, roi) for roi in ("V1", "V2", "FFA") for s in ("sub01", "sub02")]


def _measured_2021() -> tuple[dict, dict]:
    measured, predicted = {}, {}
    for place, part in enumerate(PARTS_2021):
        signal = RNG.standard_normal((30, 1, 3 + place))
        measured[part] = signal + RNG.standard_normal((30, 10, 3 + place))
        predicted[part] = signal[:, 0] + RNG.standard_normal((30, 3 + place))
    return measured, predicted


def test_2021_is_brute_force() -> None:
    measured, predicted = _measured_2021()
    rois: dict[str, list[float]] = {}
    for (subject, roi), values in measured.items():
        normalised = []
        for voxel in range(values.shape[2]):
            y, reliability = values[:, :, voxel], []
            for half in combinations(range(10), 5):  # every split twice, which changes no mean
                other = [k for k in range(10) if k not in half]
                rho = np.corrcoef(y[:, list(half)].mean(1), y[:, other].mean(1))[0, 1]
                reliability.append(2 * rho / (1 + rho))
            r = np.corrcoef(y.mean(1), predicted[subject, roi][:, voxel])[0, 1]
            normalised.append(r / np.sqrt(np.mean(reliability)))
        rois.setdefault(roi, []).append(float(np.mean(normalised)))
    expected = {roi: np.mean(values) for roi, values in rois.items()}
    score = score_2021(measured, predicted)
    assert list(score.lines) == ["V1", "V2", "FFA"]
    for roi, value in expected.items():
        assert score.lines[roi] == pytest.approx(value, abs=1e-10)
    assert score.score == pytest.approx(np.mean(list(expected.values())), abs=1e-10)


def test_2021_pools_voxels_beside() -> None:
    measured, predicted = _measured_2021()
    score = score_2021(measured, predicted)
    v1 = np.concatenate([score.voxels[s, "V1"]["score"] for s in ("sub01", "sub02")]).mean()
    one_roi = {part: values for part, values in measured.items() if part[1] == "V1"}
    assert score_2021(one_roi, {part: predicted[part] for part in one_roi}).beside["pooled_voxels"] == pytest.approx(v1)


def test_2021_leaves_out_voxels_without_reliability_and_counts_constant_predictions_as_zero() -> None:
    measured, predicted = _measured_2021()
    part = ("sub01", "V1")
    measured = {part: measured[part]}
    half = measured[part][:, :5, 0]
    measured[part][:, 5:, 0] = -half  # the halves can only disagree on average
    predicted[part][:, 1] = 3.0
    score = score_2021(measured, {part: predicted[part]})
    assert (score.parts[0].n_voxels, score.parts[0].n_scored) == (3, 2)
    assert np.isnan(score.voxels[part]["score"][0])
    assert score.voxels[part]["score"][1] == 0.0
    assert score.score == pytest.approx(score.voxels[part]["score"][2] / 2)


def _arrays_2023() -> tuple[dict, dict, dict]:
    measured, predicted, ceilings = {}, {}, {}
    for subject, n_stimuli in (("subj01", 20), ("subj02", 15)):  # subjects saw other images
        for hemisphere, n_vertices in (("lh", 6), ("rh", 9)):
            y = RNG.standard_normal((n_stimuli, n_vertices))
            measured[subject, hemisphere] = y
            predicted[subject, hemisphere] = y * RNG.choice([-1, 1], n_vertices) + RNG.standard_normal(y.shape)
            ceilings[subject, hemisphere] = RNG.uniform(0.1, 0.9, n_vertices)
    ceilings["subj01", "lh"][0] = 0.0
    return measured, predicted, ceilings


def test_2023_is_brute_force() -> None:
    measured, predicted, ceilings = _arrays_2023()
    ceilings["subj02", "rh"][:3] = 0.0
    values, whole, zero = [], [], []
    for part, y in measured.items():
        for vertex in range(y.shape[1]):
            r = np.corrcoef(y[:, vertex], predicted[part][:, vertex])[0, 1]
            if ceilings[part][vertex] == 0:
                zero.append(100 if r > 0 else 0)
                continue
            whole.append(np.sign(r) * r**2 / ceilings[part][vertex] * 100)
            r = 0 if r < 0 else r
            values.append(min(r**2 / ceilings[part][vertex] * 100, 100))
    score = score_2023(measured, predicted, ceilings)
    assert set(zero) == {0, 100}
    assert score.score == pytest.approx(np.mean(values + zero), abs=1e-10)
    assert score.beside["median"] == pytest.approx(np.median(values + zero), abs=1e-10)
    assert score.beside["ceiling_above_0"] == pytest.approx(np.mean(values), abs=1e-10)
    assert score.beside["unclipped"] == pytest.approx(np.mean(whole), abs=1e-10)
    assert min(whole) < 0 < 100 < max(whole)  # both clippings took place
    assert sum(part.n_scored for part in score.parts) == len(values + zero)
    assert list(score.lines) == ["subj01", "subj02"]
    ceilings["subj01", "lh"][1] = np.nan
    assert score_2023(measured, predicted, ceilings).parts[0].n_scored == 5


def test_2025_is_brute_force() -> None:
    measured, predicted = {}, {}
    for subject in ("sub-01", "sub-02"):
        for run, n in (("s07e01a", 30), ("s07e01b", 24)):
            measured[subject, run] = RNG.standard_normal((n, 7)).cumsum(0)
            predicted[subject, run] = measured[subject, run] + 3 * RNG.standard_normal((n, 7))
    subjects, by_run = [], []
    for subject in ("sub-01", "sub-02"):
        y = np.concatenate([measured[subject, run][5:-5] for run in ("s07e01a", "s07e01b")])
        p = np.concatenate([predicted[subject, run][5:-5] for run in ("s07e01a", "s07e01b")])
        subjects.append(np.mean([np.corrcoef(y[:, k], p[:, k])[0, 1] for k in range(7)]))
        for run in ("s07e01a", "s07e01b"):
            y, p = measured[subject, run][5:-5], predicted[subject, run][5:-5]
            by_run.append(np.mean([np.corrcoef(y[:, k], p[:, k])[0, 1] for k in range(7)]))
    score = score_2025(measured, predicted)
    assert list(score.lines.values()) == pytest.approx(subjects, abs=1e-10)
    assert score.score == pytest.approx(np.mean(subjects), abs=1e-10)
    assert score.beside["mean_of_runs"] == pytest.approx(np.mean(by_run), abs=1e-10)


def _nan(values: np.ndarray) -> np.ndarray:
    return np.where(np.arange(values.size).reshape(values.shape) == 3, np.nan, values)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m, p: (m, {}), AlignmentError, "missing: sub01 V1"),
        (lambda m, p: (m, p | {("sub09", "V1"): p["sub01", "V1"]}), AlignmentError, "without .*: sub09 V1"),
        (lambda m, p: (m, p | {("sub01", "V1"): p["sub01", "V1"][:, :2]}), ShapeError, "sub01 V1 must have shape"),
        (
            lambda m, p: (m, p | {("sub01", "V1"): _nan(p["sub01", "V1"])}),
            DataError,
            "sub01 V1 must be finite",
        ),
        (lambda m, p: (m | {("sub01", "V1"): m["sub01", "V1"][:, :1]}, p), ShapeError, "at least 2 repetitions"),
        (lambda m, p: ({}, {}), DataError, "got none"),
    ],
)
def test_what_does_not_fit_is_refused(change, error: type[VoxelcastError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        score_2021(*change(*_measured_2021()))
    assert "\n" not in str(caught.value)


def test_ceilings_in_percent_and_short_runs_are_refused() -> None:
    measured, predicted, ceilings = _arrays_2023()
    with pytest.raises(DataError, match="from 0 to 1"):
        score_2023(measured, predicted, {part: 100 * values for part, values in ceilings.items()})
    run = {("sub-01", "s07e01a"): np.ones((11, 3))}
    with pytest.raises(DataError, match="at least 12 volumes"):
        score_2025(run, run)
