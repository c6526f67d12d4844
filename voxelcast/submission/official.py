"""Score predictions by the rule of a challenge, where the measured responses to the held-out stimuli are known."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import astuple, fields
from pathlib import Path
from typing import Final, Literal, get_args

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_option, check_same_stimuli
from voxelcast.core.errors import DataError
from voxelcast.datasets.base import Dataset
from voxelcast.scoring.challenge import ChallengeScore, PartScore, score_2021
from voxelcast.store.atomic import save_arrays, write_text
from voxelcast.submission.check import read_submission
from voxelcast.submission.predictions import Part, read_outputs

Rule = Literal["2021", "2023", "2025"]

RULES: Final = get_args(Rule)

ROI_ORDER_2021: Final = ("V1", "V2", "V3", "V4", "LOC", "EBA", "FFA", "STS", "PPA")
"""From early to late visual cortex, as in ``scores.txt``."""


def rule_of(dataset: Dataset) -> Rule:
    """Tell by which challenge's rule a dataset's responses are scored where nothing else is said."""
    return {"algonauts2023": "2023", "algonauts2025": "2025"}.get(dataset.kind, "2021")  # type: ignore[return-value]


def score_predictions(path: Path, dataset: Dataset, *, rule: str | None = None) -> ChallengeScore:
    """Score a submission, or the output folder of an experiment, against measured responses.

    Parameters
    ----------
    path : Path
        A submission file, or an output folder, which may hold some of the subjects and ROIs only.
    dataset : Dataset
        With responses to its held-out stimuli.
    rule : {"2021", "2023", "2025"} or None
        None: that of the dataset; 2021 where it is no challenge's.

    Raises
    ------
    DataError
        If the dataset has no responses to held-out stimuli.
    VoxelcastError
        For whatever is wrong with the predictions.
    """
    rule = rule or rule_of(dataset)
    check_option("rule", rule, RULES)
    if not dataset.has_test_responses:
        raise DataError(
            f"a score needs measured responses to held-out stimuli, and this {dataset.kind} dataset has none; score "
            "with BOLD Moments (the recordings of 2021), a simulation, or a folder with test responses"
        )
    if path.is_dir():
        predicted = read_outputs([path], dataset)
        measured = _measured(dataset, list(predicted))
    else:
        measured = _measured(dataset, [(s, roi) for s in dataset.subjects for roi in dataset.rois(s)])
        predicted = _read(path, measured)
    return score_2021(measured, predicted)


def _measured(dataset: Dataset, parts: list[Part]) -> dict[Part, FloatArray]:
    """Read the responses to the held-out stimuli, (n_test, n_repetitions, n_voxels), in the order of the lines."""
    ids = [stimulus.stimulus_id for stimulus in dataset.test_stimuli]
    measured = {}
    place = {roi: number for number, roi in enumerate(ROI_ORDER_2021)}
    for subject, roi in sorted(parts, key=lambda part: place.get(part[1], len(place))):
        responses = dataset.responses(subject, roi, "test")
        check_same_stimuli(f"responses of {subject} {roi}", responses.stimulus_ids, "the held-out stimuli", ids)
        measured[subject, roi] = responses.values
    return measured


def _read(path: Path, measured: Mapping[Part, FloatArray]) -> dict[Part, FloatArray]:
    """Read a submission whose shapes must be those of the measured responses."""
    voxels: dict[str, dict[str, int]] = {}
    for (subject, roi), values in measured.items():
        voxels.setdefault(subject, {})[roi] = values.shape[2]
    n_test = next(iter(measured.values())).shape[0]
    return read_submission(path, n_test=n_test, expected_voxels=voxels)


def write_score(folder: Path, score: ChallengeScore) -> None:
    """Write a score into a folder.

    ``scores.txt`` as the server of 2021 wrote it, a line ``name: value`` for each ROI and at last ``score: value``;
    ``scores.csv`` with a row for each subject and part, ``beside.csv`` with the other numbers, and
    ``voxels/<subject>_<part>.npz`` with every voxel's values.
    """
    lines = [*score.lines.items(), ("score", score.score)]
    write_text(folder / "scores.txt", "".join(f"{name}: {value!r}\n" for name, value in lines))
    write_text(folder / "scores.csv", _csv([[f.name for f in fields(PartScore)], *map(astuple, score.parts)]))
    write_text(folder / "beside.csv", _csv([("name", "value"), *score.beside.items()]))
    for (subject, part), voxels in score.voxels.items():
        save_arrays(folder / "voxels" / f"{subject}_{part}.npz", voxels)


def _csv(rows: list[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)  # type: ignore[arg-type]
    return text.getvalue()
