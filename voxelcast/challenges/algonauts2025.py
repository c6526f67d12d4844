"""The Algonauts challenge of 2025: four subjects who watched Friends and movies, parcels, volume by volume.

A submission is ``{'sub-01': {'s07e01a': float32 (n_volumes, 1000)}}``, saved by NumPy as
``fmri_predictions_friends_s7.npy``, alone at the root of a zip; ``fmri_predictions_ood.npy`` for the
out-of-distribution movies.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from voxelcast.challenges.archive import pickled
from voxelcast.challenges.base import Challenge, Shape
from voxelcast.challenges.registry import register_challenge
from voxelcast.challenges.scores import ChallengeScore, Part, check_parts, check_prediction, correlation, mean_of
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.formats.algonauts2025 import N_PARCELS
from voxelcast.datasets.readers.pickles import load_boxed_dict

EDGE_VOLUMES = 5
"""Volumes dropped at either end of a run."""


@register_challenge
class Algonauts2025(Challenge):
    """Time series by subject and run: of each run the volumes that the subject has."""

    name = "algonauts2025"
    title = "Algonauts 2025"
    rule = "2025"
    tracks = ("2025",)
    levels = ("subject", "run")
    files: ClassVar = {"2025": ("fmri_predictions_*.npy", "fmri_predictions_*.zip")}

    def shapes(self, datasets: Sequence[Dataset], track: str) -> dict[Part, Shape]:
        """List the held-out runs of every subject, whose lengths only the data say."""
        if not datasets:
            raise DataError("only its data say how long the runs of Algonauts 2025 are; name them with --dataset")
        return {
            (subject, run): (len(rows), N_PARCELS)
            for dataset in datasets
            for subject, runs in dataset.held_out_runs.items()
            for run, rows in runs.items()
        }

    def split(self, values: Mapping[Part, FloatArray], datasets: Sequence[Dataset]) -> dict[Part, FloatArray]:
        """Divide (n_test, ..., n_parcels) of each subject into runs, each cut to the volumes the subject has of it."""
        parts: dict[Part, FloatArray] = {}
        for dataset in datasets:
            if not dataset.held_out_runs:
                raise DataError(
                    f"runs of the challenge of 2025 need its dataset; got {dataset.kind}; choose another rule"
                )
            for subject, runs in dataset.held_out_runs.items():
                rois = [roi for of, roi in values if of == subject]
                if len(rois) != 1:
                    raise DataError(
                        f"{subject} must have one ROI of all parcels; got {len(rois)}; leave rois and roi_table out"
                    )
                for run, rows in sorted(runs.items(), key=lambda item: item[1].start):
                    parts[subject, run] = values[subject, rois[0]][rows.start : rows.stop]
        return parts

    def stem(self, shapes: Mapping[Part, Shape]) -> str:
        """Name the phase: episodes of season 7 of Friends, or other movies."""
        of_friends = all(run.startswith("s07e") for _, run in shapes)
        return f"fmri_predictions_{'friends_s7' if of_friends else 'ood'}"

    def encode(self, content: Mapping[str, Mapping[str, FloatArray]], shapes: Mapping[Part, Shape]) -> dict[str, bytes]:
        """Write the dict as np.save does, but for the pickle's protocol and names, which NumPy 1 reads too."""
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": ()})
        buffer.write(pickled(np.array(content, dtype=object)))
        return {f"{self.stem(shapes)}.npy": buffer.getvalue()}

    def decode(self, files: Mapping[str, Path]) -> object:
        """Read the dict, which may hold arrays and plain containers only."""
        (path,) = files.values()
        return load_boxed_dict(path)

    def score(self, measured: Mapping[Part, FloatArray], predicted: Mapping[Part, FloatArray]) -> ChallengeScore:
        """See :func:`score_2025`; of repetitions the first is scored."""
        return score_2025({part: values[:, 0] for part, values in measured.items()}, predicted)


def score_2025(
    measured: Mapping[Part, FloatArray], predicted: Mapping[Part, FloatArray], *, edge: int = EDGE_VOLUMES
) -> ChallengeScore:
    """Score as the challenge of 2025 did [1]_: mean Pearson correlation over parcels, then over subjects.

    The first and the last ``edge`` volumes of every run are dropped. Per subject and parcel, r runs over the volumes
    of all runs one after the other; whether the organisers correlate so or run by run could not be found: ``beside``
    has the mean of the runs' r as ``mean_of_runs``. A parcel with constant predictions counts as 0, and there is no
    noise ceiling. Raises AlignmentError, ShapeError or DataError if the two do not fit one another, hold NaN, or a run
    is too short.

    Parameters
    ----------
    measured, predicted : mapping of (subject, run) to ndarray of shape (n_volumes, n_parcels)

    References
    ----------
    .. [1] Gifford, A. T. et al. The Algonauts Project 2025 Challenge: how the human brain makes sense of multimodal
       movies. arXiv:2501.00504 (2025). doi:10.48550/arXiv.2501.00504
    """
    check_parts(measured, predicted)
    runs_of: dict[str, list[str]] = {}
    for (subject, run), values in measured.items():
        check_prediction(f"{subject} {run}", values, predicted[subject, run])
        if len(values) < 2 * edge + 2:
            raise DataError(
                f"{subject} {run} must have at least {2 * edge + 2} volumes, as {edge} at either end are dropped; "
                f"got {len(values)}"
            )
        runs_of.setdefault(subject, []).append(run)
    voxels, by_run = {}, {}
    for subject, runs in runs_of.items():
        kept = [(measured[subject, run], predicted[subject, run]) for run in runs]
        kept = [(y[edge : len(y) - edge], p[edge : len(p) - edge]) for y, p in kept]
        r = correlation(subject, *(np.concatenate(both) for both in zip(*kept, strict=True)))
        voxels[subject, "all"] = {"pearson_r": r, "score": r, "unclipped": r}
        by_run[subject] = mean_of([mean_of(correlation(subject, y, p)) for y, p in kept])
    lines = {subject: mean_of(values["score"]) for (subject, _), values in voxels.items()}
    beside = {"mean_of_runs": mean_of(list(by_run.values()))}
    return ChallengeScore(mean_of(list(lines.values())), lines, beside, voxels)
