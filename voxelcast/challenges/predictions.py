"""Predictions that a run left, gathered for a submission or a score."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voxelcast.challenges.scores import Part
from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_same_stimuli
from voxelcast.core.errors import DataError, MissingFileError
from voxelcast.datasets.base import Dataset


def read_outputs(outputs: Sequence[Path], dataset: Dataset) -> dict[Part, FloatArray]:
    """Read the predictions of the held-out stimuli from the output folders of experiments on one dataset.

    E.g. of one experiment for each subject; each subject and ROI must come from one of them only.

    Returns
    -------
    predictions : dict of (subject, ROI) to ndarray of shape (n_test, n_voxels)
        Of the subjects and ROIs of the dataset that were predicted.

    Raises
    ------
    MissingFileError, AlignmentError
        If a folder holds no predictions, or they are not of the dataset's held-out stimuli, in their order.
    DataError
        If two outputs predict the same, none predicts anything of this dataset, or one failed to predict a subject and
        ROI that no other predicts.
    """
    ids = [stimulus.stimulus_id for stimulus in dataset.test_stimuli]
    found: dict[Part, tuple[Path, FloatArray]] = {}
    for output in outputs:
        folder = output / "predictions"
        if not folder.is_dir():
            raise MissingFileError(f"{output} holds no predictions/; give the output folder of a finished experiment")
        for subject in dataset.subjects:
            for roi in dataset.rois(subject):
                path = folder / f"{subject}_{roi}.npy"
                if not path.is_file():
                    continue
                if (subject, roi) in found:
                    first = found[subject, roi][0].parent.parent
                    raise DataError(f"{subject} {roi} is predicted in both {first} and {output}; give one of them")
                table = folder / f"{subject}_{roi}_stimuli.csv"
                check_same_stimuli(f"predictions in {path}", _ids(table), "the held-out stimuli of the dataset", ids)
                found[subject, roi] = (path, np.load(path, allow_pickle=False))
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
    rows = _rows(table) if table.is_file() else []
    return {(row["subject"], row["roi"]): row["missing"] for row in rows if row.get("missing")}


def _ids(table: Path) -> list[str]:
    if not table.is_file():
        raise MissingFileError(
            f"{table} does not exist, which says what stimuli were predicted; run the experiment again"
        )
    return [row["stimulus_id"] for row in _rows(table)]


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
