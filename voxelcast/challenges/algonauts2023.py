"""The Algonauts challenge of 2023: images of the Natural Scenes Dataset, eight subjects, vertices of two hemispheres.

A submission is a folder per subject with an array per hemisphere, in a zip: ``subj0X/lh_pred_test.npy`` and
``subj0X/rh_pred_test.npy``, float32, (n_test, n_vertices). Whether the server wanted the subjects' folders at the root
of the zip could not be found, nor what it called the zip.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from voxelcast.challenges.base import Challenge, Shape
from voxelcast.challenges.registry import register_challenge
from voxelcast.challenges.scores import (
    ChallengeScore,
    Part,
    check_parts,
    check_prediction,
    correlation,
    mean_of,
    mean_over_repetitions,
)
from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_shape
from voxelcast.core.errors import DataError
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.formats.algonauts2023 import HEMISPHERES, N_TEST, N_VERTICES, SUBJECTS
from voxelcast.scoring.variance import ncsnr, noise_ceiling_r2, repetition_counts
from voxelcast.store.readers.arrays import open_npy

_LEAST_CEILING: Final = 1e-14


@register_challenge
class Algonauts2023(Challenge):
    """Vertices by subject and hemisphere, from one dataset of each subject, who saw images of their own."""

    name = "algonauts2023"
    title = "Algonauts 2023"
    rule = "2023"
    tracks = ("2023",)
    levels = ("subject", "hemisphere")
    files: ClassVar = {"2023": ("algonauts2023.zip", "subj0?/?h_pred_test.npy")}
    one_dataset_per_subject = True

    def shapes(self, datasets: Sequence[Dataset], track: str) -> dict[Part, Shape]:
        """List the hemispheres of the datasets' subjects; of all eight where there is no dataset."""
        if not datasets:
            sizes = {subject: dict(zip(HEMISPHERES, N_VERTICES[subject], strict=True)) for subject in SUBJECTS}
            return {(s, side): (N_TEST[s], n) for s, sides in sizes.items() for side, n in sides.items()}
        return {
            (subject, side): (len(dataset.test_stimuli), n_vertices)
            for dataset in datasets
            for subject, sides in (dataset.submission_voxels or {}).items()
            for side, n_vertices in sides.items()
        }

    def stem(self, shapes: Mapping[Part, Shape]) -> str:
        """Name the challenge."""
        return self.name

    def members(self, shapes: Mapping[Part, Shape]) -> dict[str, int]:
        """Name the file of each subject and hemisphere."""
        return {_member(*part): n * m for part, (n, m) in shapes.items()}

    def encode(self, content: Mapping[str, Mapping[str, FloatArray]], shapes: Mapping[Part, Shape]) -> dict[str, bytes]:
        """Write each array as .npy."""
        return {_member(*part): _npy(content[part[0]][part[1]]) for part in shapes}

    def decode(self, files: Mapping[str, Path]) -> object:
        """Read each array, which may hold numbers only."""
        content: dict[str, dict[str, Any]] = {}
        for name, path in files.items():
            subject, _, rest = name.partition("/")
            content.setdefault(subject, {})[rest.partition("_")[0]] = open_npy(path, name, shown=name)
        return content

    def score(self, measured: Mapping[Part, FloatArray], predicted: Mapping[Part, FloatArray]) -> ChallengeScore:
        """See :func:`score_2023`; the noise ceilings are estimated from the repetitions."""
        return self.score_on(measured, predicted, ())

    def score_on(
        self, measured: Mapping[Part, FloatArray], predicted: Mapping[Part, FloatArray], datasets: Sequence[Dataset]
    ) -> ChallengeScore:
        """See :func:`score_2023`; with the organisers' noise ceilings where the datasets hold them.

        Raises
        ------
        DataError
            For a part without ceilings or repetitions to estimate them from.
        """
        of = {subject: dataset for dataset in datasets for subject in dataset.subjects}
        ceilings = {}
        for (subject, side), values in measured.items():
            published = of[subject].published_ceiling_r2(subject, side) if subject in of else None
            if published is None:
                published = noise_ceiling_r2(ncsnr(values), repetition_counts(values))
            if np.isnan(published).all():
                raise DataError(
                    f"{subject} {side} has no noise ceiling: put the organisers' into test_split/noise_ceiling, or "
                    "responses of shape (n_images, n_repetitions, n_vertices), not averaged, into test_split/test_fmri"
                )
            ceilings[subject, side] = published
        return score_2023({part: mean_over_repetitions(y) for part, y in measured.items()}, predicted, ceilings)


def _member(subject: str, side: str) -> str:
    return f"{subject}/{side}_pred_test.npy"


def _npy(array: FloatArray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def score_2023(
    measured: Mapping[Part, FloatArray], predicted: Mapping[Part, FloatArray], ceiling_r2: Mapping[Part, FloatArray]
) -> ChallengeScore:
    """Score as the challenge of 2023 did [1]_: share of the explainable variance, in percent.

    Per vertex, ``min(max(r, 0)**2 / noise_ceiling_r2, 1) * 100``, then the mean over all vertices of both hemispheres
    and all subjects together. A ceiling of 0 is raised to 1e-14, as in the organisers' script: such a vertex counts as
    100 where r is above 0, else as 0. How the organisers put vertices together is not stated where it could be found:
    ``beside`` has the median (``median``), the mean of the subjects' means (``mean_of_subjects``), the mean without
    vertices whose ceiling is 0 (``ceiling_above_0``) and, of those too, the mean of ``r |r| / noise_ceiling_r2`` in
    percent, in which nothing is clipped (``unclipped``). A vertex whose ceiling is NaN is left out; one with constant
    predictions counts as 0. Raises AlignmentError, ShapeError or DataError if the
    three do not fit one another, or hold NaN where they must not.

    Parameters
    ----------
    measured, predicted : mapping of (subject, hemisphere) to ndarray of shape (n_stimuli, n_vertices)
        Mean responses over repetitions, and predictions.
    ceiling_r2 : mapping of (subject, hemisphere) to ndarray of shape (n_vertices,)
        Share of the mean responses' variance that is signal, between 0 and 1:
        ``ncsnr**2 / (ncsnr**2 + mean(1 / n_repetitions))``.

    References
    ----------
    .. [1] Gifford, A. T. et al. The Algonauts Project 2023 Challenge: how the human brain makes sense of natural
       scenes. arXiv:2301.03198 (2023). doi:10.48550/arXiv.2301.03198
    """
    check_parts(measured, predicted)
    check_parts(measured, ceiling_r2, "noise ceilings")
    voxels = {}
    for part, values in measured.items():
        name = " ".join(part)
        check_prediction(name, values, predicted[part])
        ceiling = np.asarray(ceiling_r2[part], dtype=np.float64)
        check_shape(f"noise ceiling of {name}", ceiling, ("n_vertices",), (values.shape[-1],))
        if (ceiling > 1).any():
            raise DataError(f"noise ceiling of {name} must be a share from 0 to 1; got {np.nanmax(ceiling):g}; divide?")
        r = correlation(name, values, predicted[part])
        whole = r * np.abs(r) * 100 / np.where(ceiling == 0, _LEAST_CEILING, ceiling)
        voxels[part] = {
            "pearson_r": r,
            "noise_ceiling_r2": ceiling,
            "score": np.clip(whole, 0.0, 100.0),
            "unclipped": np.where(ceiling > 0, whole, np.nan),
        }
    subjects = dict.fromkeys(subject for subject, _ in voxels)
    lines = {s: mean_of(np.concatenate([v["score"] for (of, _), v in voxels.items() if of == s])) for s in subjects}
    names = ("score", "unclipped", "pearson_r", "noise_ceiling_r2")
    every = {name: np.concatenate([v[name] for v in voxels.values()]) for name in names}
    beside = {
        "median": mean_of(every["score"], np.median),
        "mean_of_subjects": mean_of(list(lines.values())),
        "ceiling_above_0": mean_of(every["score"][every["noise_ceiling_r2"] > 0]),
        "unclipped": mean_of(every["unclipped"]),
        "pearson_r": mean_of(every["pearson_r"]),
    }
    return ChallengeScore(mean_of(every["score"]), lines, beside, voxels)
