"""Score predictions by the rule of a challenge, where the measured responses to the held-out stimuli are known."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Final, Literal, get_args

from voxelcast.challenges import check
from voxelcast.challenges.challenges import read_file, split_runs
from voxelcast.challenges.layout import TRACK_ROIS, Part
from voxelcast.challenges.predictions import read_outputs
from voxelcast.challenges.scores import (
    ChallengeScore,
    PartScore,
    mean_over_repetitions,
    score_2021,
    score_2023,
    score_2025,
)
from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_option, check_same_stimuli
from voxelcast.core.errors import DataError, MissingFileError
from voxelcast.datasets.base import Dataset
from voxelcast.scoring.variance import ncsnr, noise_ceiling_r2, repetition_counts
from voxelcast.store.atomic import save_arrays, write_text

Rule = Literal["2021", "2023", "2025"]

RULES: Final = get_args(Rule)

ROI_ORDER_2021: Final = ("V1", "V2", "V3", "V4", "LOC", "EBA", "FFA", "STS", "PPA")
"""From early to late visual cortex, as in ``scores.txt``."""


def rule_of(datasets: Sequence[Dataset]) -> Rule:
    """Tell by which challenge's rule responses are scored where nothing else is said: 2021 if they are of none."""
    kind = datasets[0].kind
    return "2023" if kind == "algonauts2023" else "2025" if kind == "algonauts2025" else "2021"


def score_predictions(path: Path, datasets: Sequence[Dataset], *, rule: str | None = None) -> ChallengeScore:
    """Score a submission, or the output folder of an experiment, against measured responses.

    The noise ceiling of 2023's rule is estimated from the repetitions of the held-out stimuli
    (:func:`voxelcast.scoring.variance.ncsnr`), since the challenge's own is not part of its release.

    Parameters
    ----------
    path : Path
        A submission file (for 2023 also the folder that holds ``subj0X``), or an output folder, which may hold some of
        the subjects and ROIs only.
    datasets : sequence of Dataset
        With responses to held-out stimuli; several where each is of one subject (2023).
    rule : {"2021", "2023", "2025"} or None
        None: that of the dataset; 2021 where it is no challenge's.

    Raises
    ------
    DataError
        If a dataset has no responses to held-out stimuli.
    VoxelcastError
        For whatever is wrong with the predictions.
    """
    rule = rule or rule_of(datasets)
    check_option("rule", rule, RULES)
    if not path.exists():
        raise MissingFileError(f"{path} does not exist; give a submission file, or the output folder of a run")
    for dataset in datasets:
        if not dataset.has_test_responses:
            raise DataError(
                f"a score needs measured responses to held-out stimuli, and this {dataset.kind} dataset has none; "
                "score with BOLD Moments (the recordings of 2021), a miniature, or a folder with test responses"
            )
    if (path / "predictions").is_dir():
        predicted: dict[Part, FloatArray] = {}
        for dataset in datasets:
            predicted |= read_outputs([path], dataset)
        measured = _measured(datasets, list(predicted))
        if rule == "2025":
            predicted = split_runs(predicted, datasets)
    else:
        asked = _asked(path, datasets)
        parts = [(s, roi) for d in datasets for s in d.subjects for roi in d.rois(s) if asked is None or roi in asked]
        measured = _measured(datasets, parts)
        predicted = {}
    if rule == "2025":
        time_series = split_runs({part: values[:, 0] for part, values in measured.items()}, datasets)
        return score_2025(time_series, predicted or read_file(path, datasets, time_series))
    predicted = predicted or read_file(path, datasets, measured)
    if rule == "2021":
        return score_2021(measured, predicted)
    means, ceilings = {}, {}
    for part, values in measured.items():
        means[part] = mean_over_repetitions(values)
        ceilings[part] = noise_ceiling_r2(ncsnr(values), repetition_counts(values))
    return score_2023(means, predicted, ceilings)


def _asked(path: Path, datasets: Sequence[Dataset]) -> tuple[str, ...] | None:
    """ROIs of a submission file's track in 2021, so that a dataset may have others too; None: every ROI."""
    if datasets[0].kind in ("algonauts2023", "algonauts2025"):
        return None
    return TRACK_ROIS[check.track_of(path)]


def _measured(datasets: Sequence[Dataset], parts: Sequence[Part]) -> dict[Part, FloatArray]:
    """Read the responses to the held-out stimuli, (n_test, n_repetitions, n_voxels), in the order of the lines."""
    measured = {}
    place = {roi: number for number, roi in enumerate(ROI_ORDER_2021)}
    for dataset in datasets:
        ids = [stimulus.stimulus_id for stimulus in dataset.test_stimuli]
        for subject, roi in sorted(parts, key=lambda part: place.get(part[1], len(place))):
            if subject in dataset.subjects:
                responses = dataset.responses(subject, roi, "test")
                check_same_stimuli(f"responses of {subject} {roi}", responses.stimulus_ids, "held-out stimuli", ids)
                measured[subject, roi] = responses.values
    return measured


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


def _csv(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
