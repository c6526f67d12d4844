"""Predictions that runs left: gathered for a submission, and scored where the measured responses are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from voxelcast.challenges.registry import challenge_of, challenge_of_rule
from voxelcast.challenges.scores import ChallengeScore, Part
from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_same_stimuli
from voxelcast.core.errors import DataError, MissingFileError
from voxelcast.datasets.base import Dataset
from voxelcast.results.read import ROI_ORDER
from voxelcast.results.write import PREDICTION_FILE, STIMULUS_FILE, VOXEL_FILE, pair_file
from voxelcast.store.atomic import save_arrays, write_text
from voxelcast.store.readers.arrays import open_npy
from voxelcast.store.readers.tables import read_table


def read_outputs(outputs: Sequence[Path], dataset: Dataset) -> dict[Part, FloatArray]:
    """Read the predictions of the held-out stimuli from the output folders of experiments on one dataset.

    E.g. of one experiment for each subject; each subject and ROI must come from one of them only.

    Gives an ndarray of shape (n_test, n_voxels) for each subject and ROI of the dataset that was predicted. Raises
    MissingFileError or AlignmentError if a folder holds no predictions, or they are not of the dataset's held-out
    stimuli, in their order; DataError if two outputs predict the same, none predicts anything of this dataset, or one
    failed to predict a subject and ROI that no other predicts.
    """
    ids = [stimulus.stimulus_id for stimulus in dataset.test_stimuli]
    found: dict[Part, tuple[Path, FloatArray]] = {}
    for output in outputs:
        if not (output / "predictions").is_dir():
            raise MissingFileError(f"{output} holds no predictions/; give the output folder of a finished experiment")
        for subject in dataset.subjects:
            for roi in dataset.rois(subject):
                path = pair_file(output, PREDICTION_FILE, (subject, roi))
                if not path.is_file():
                    continue
                if (subject, roi) in found:
                    first = found[subject, roi][0].parent.parent
                    raise DataError(f"{subject} {roi} is predicted in both {first} and {output}; give one of them")
                table = pair_file(output, STIMULUS_FILE, (subject, roi))
                check_same_stimuli(f"predictions in {path}", _ids(table), "the held-out stimuli of the dataset", ids)
                found[subject, roi] = (path, open_npy(path, "predictions"))
    for output in outputs:
        for part, reason in missing_parts(output).items():
            if part not in found and part[0] in dataset.subjects and part[1] in dataset.rois(part[0]):
                raise DataError(
                    f"{' '.join(part)} is missing in {output} because it failed ({reason}); fix the cause, run the "
                    "experiment again, and then this"
                )
    if not found:
        raise DataError(
            f"no subject and ROI of this dataset is predicted in {', '.join(map(str, outputs))}; is it another dataset?"
        )
    return {part: values for part, (_, values) in found.items()}


def missing_parts(output: Path) -> dict[Part, str]:
    """Read which subjects and ROIs failed in a run, and why: nothing where its results are complete."""
    table = output / "scores.csv"
    if not table.is_file():
        return {}
    found = read_table(table, ("subject", "roi"))
    if "missing" not in found.names:
        return {}
    columns = (found.column(name) for name in ("subject", "roi", "missing"))
    return {(subject, roi): reason for subject, roi, reason in zip(*columns, strict=True) if reason}


def _ids(table: Path) -> list[str]:
    if not table.is_file():
        raise MissingFileError(
            f"{table} does not exist, which says what stimuli were predicted; run the experiment again"
        )
    return read_table(table, ("stimulus_id",)).column("stimulus_id")


def score_predictions(path: Path, datasets: Sequence[Dataset], *, rule: str | None = None) -> ChallengeScore:
    """Score a submission, or the output folder of an experiment, against measured responses.

    Raises OptionError for an unknown rule, DataError for no responses to held-out stimuli, and another VoxelcastError
    for whatever is wrong with the predictions.

    Parameters
    ----------
    path : Path
        A submission (the file, or the folder that holds its files), or an output folder, which may hold some of the
        subjects and ROIs only.
    datasets : sequence of Dataset
        With responses to held-out stimuli; several where each is of one subject (2023).
    rule : {"2021", "2023", "2025"} or None
        Or that of another challenge registered; None: that of the datasets' challenge.
    """
    challenge = challenge_of(datasets)
    scorer = challenge if rule is None else challenge_of_rule(rule)
    if not path.exists():
        raise MissingFileError(f"{path} does not exist; give a submission file, or the output folder of a run")
    for dataset in datasets:
        if not dataset.has_test_responses:
            raise DataError(
                f"a score needs measured responses to held-out stimuli, and this {dataset.kind} dataset has none; "
                "score with BOLD Moments (the recordings of 2021), a miniature, or a folder with test responses"
            )
    predicted: dict[Part, FloatArray] = {}
    if (path / "predictions").is_dir():
        for dataset in datasets:
            predicted |= read_outputs([path], dataset)
        pairs = list(predicted)
        predicted = scorer.split(predicted, datasets)
    else:
        pairs = [pair for dataset in datasets for pair in challenge.rois_of(path, dataset)]
    measured = scorer.split(_measured(datasets, pairs), datasets)
    if not predicted:
        predicted = challenge.read(path, {part: (y.shape[0], y.shape[-1]) for part, y in measured.items()})
    return scorer.score_on(measured, predicted, datasets)


def _measured(datasets: Sequence[Dataset], pairs: Sequence[Part]) -> dict[Part, FloatArray]:
    """Read the responses to the held-out stimuli, (n_test, n_repetitions, n_voxels); ROIs from early to late."""
    measured = {}
    for dataset in datasets:
        ids = [stimulus.stimulus_id for stimulus in dataset.test_stimuli]
        for subject, roi in sorted(pairs, key=lambda pair: (*ROI_ORDER, pair[1]).index(pair[1])):
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
    tables = {
        "scores": pd.DataFrame(score.parts),
        "beside": pd.DataFrame(score.beside.items(), columns=["name", "value"]),
    }
    for name, table in tables.items():
        write_text(folder / f"{name}.csv", table.to_csv(index=False, na_rep="nan", lineterminator="\n"))
    for (subject, part), voxels in score.voxels.items():
        save_arrays(pair_file(folder, VOXEL_FILE, (subject, part)), voxels)
