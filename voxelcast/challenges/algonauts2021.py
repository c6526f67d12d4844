"""The Algonauts challenge of 2021: videos, ten subjects, nine ROIs (mini track) or the whole brain (full track).

A submission is a pickled ``{ROI: {subject: array (n_test, n_voxels)}}`` named ``mini_track.pkl`` or ``full_track.pkl``,
alone at the root of a zip of the same stem.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from voxelcast.challenges.archive import pickled
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
    part_score,
)
from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_option
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.formats.algonauts2021 import EXPECTED_VOXELS, MINI_ROIS, N_TEST, SUBJECTS, WHOLE_BRAIN
from voxelcast.datasets.readers.pickles import load_pickle
from voxelcast.scoring.ceiling import split_half_ceiling_r

TRACK_ROIS: Final[Mapping[str, tuple[str, ...]]] = {"mini": MINI_ROIS, "full": (WHOLE_BRAIN,)}
"""ROIs of each track, in the order of the challenge's own file."""


@register_challenge
class Algonauts2021(Challenge):
    """Voxels by ROI and subject, of the challenge's ten subjects, of a simulation or of BOLD Moments."""

    name = "algonauts2021"
    title = "Algonauts 2021"
    rule = "2021"
    tracks = ("mini", "full")
    levels = ("ROI", "subject")
    ending = ".pkl"
    files: ClassVar = {track: (f"{track}_track.pkl", f"{track}_track.zip") for track in tracks}

    def shapes(self, datasets: Sequence[Dataset], track: str) -> dict[Part, Shape]:
        """List the voxels of the track's ROIs that a dataset says, else those of the ten subjects."""
        check_option("track", track, self.tracks)
        n_test = len(datasets[0].test_stimuli) if datasets else N_TEST
        voxels = datasets[0].submission_voxels if datasets else None
        if voxels is None:
            voxels = {subject: EXPECTED_VOXELS[subject] for subject in SUBJECTS}
        shapes = {
            (subject, roi): (n_test, table[roi])
            for roi in TRACK_ROIS[track]
            for subject, table in voxels.items()
            if roi in table
        }
        if not shapes:
            raise OptionError(
                f"the dataset must hold an ROI of the {track} track ({', '.join(TRACK_ROIS[track])}); it has none"
            )
        return shapes

    def stem(self, shapes: Mapping[Part, Shape]) -> str:
        """Name the track."""
        return "full_track" if all(roi == WHOLE_BRAIN for _, roi in shapes) else "mini_track"

    def shown(self, shapes: Mapping[Part, Shape]) -> str:
        """Name the track."""
        return self.stem(shapes).replace("_", " ")

    def encode(self, content: Mapping[str, Mapping[str, FloatArray]], shapes: Mapping[Part, Shape]) -> dict[str, bytes]:
        """Pickle the arrays."""
        return {f"{self.stem(shapes)}.pkl": pickled(content)}

    def decode(self, files: Mapping[str, Path]) -> object:
        """Read the pickle, which may hold arrays and plain containers only."""
        (path,) = files.values()
        return load_pickle(path)

    def track_of_file(self, path: Path) -> str:
        """Tell the track; raise DataError where the name is not the challenge's."""
        for track, names in self.files.items():
            if path.name in names:
                return track
        raise DataError(
            "a submission must be named mini_track or full_track with the ending .zip or .pkl; "
            f"got {path.name!r}; rename it"
        )

    def rois_of(self, path: Path, dataset: Dataset) -> list[Part]:
        """List the ROIs of the track: a dataset may have others too."""
        asked = TRACK_ROIS[self.track_of_file(path)]
        return [(subject, roi) for subject, roi in super().rois_of(path, dataset) if roi in asked]

    def split(self, values: Mapping[Part, FloatArray], datasets: Sequence[Dataset]) -> dict[Part, FloatArray]:
        """Leave out the ROIs of the mini track that stand beside the whole brain."""
        beside = TRACK_ROIS["mini"] if self.track(datasets) == "full" else ()
        return {part: array for part, array in values.items() if part[1] not in beside}

    def summary(self, shapes: Mapping[Part, Shape]) -> str:
        """Count subjects, ROIs and voxels."""
        n_subjects, n_rois = (len({part[k] for part in shapes}) for k in (0, 1))
        n_test, n_voxels = next(iter(shapes.values()))[0], sum(m for _, m in shapes.values())
        return (
            f"{self.shown(shapes)} in order: {n_subjects} subjects x {n_rois} ROIs, "
            f"{n_test} stimuli, {n_voxels} voxels in all"
        )

    def score(self, measured: Mapping[Part, FloatArray], predicted: Mapping[Part, FloatArray]) -> ChallengeScore:
        """See :func:`score_2021`."""
        return score_2021(measured, predicted)


def score_2021(measured: Mapping[Part, FloatArray], predicted: Mapping[Part, FloatArray]) -> ChallengeScore:
    """Score as the challenge of 2021 did [1]_: noise-normalised correlation.

    Per voxel, ``r(prediction, mean over repetitions) / sqrt(reliability)``, the reliability being the mean over all
    splits of the repetitions into halves of the Spearman-Brown corrected correlation ``2 rho / (1 + rho)``; then the
    mean over the voxels of an ROI, over subjects, and over ROIs. The result is the same for the full track, whose one
    ROI is the whole brain. Nothing is clipped.

    The page does not say whether voxels of different subjects are pooled (``beside`` has that number as
    ``pooled_voxels``), nor what becomes of a voxel whose mean reliability is not positive: here it is left out. A
    voxel with constant predictions counts as 0. Raises AlignmentError if measured and predicted do not hold the same
    subjects and ROIs, ShapeError or DataError if arrays do not fit one another, hold NaN, or have fewer than two
    repetitions.

    Parameters
    ----------
    measured : mapping of (subject, roi) to ndarray of shape (n_stimuli, n_repetitions, n_voxels)
        NaN marks a missing repetition.
    predicted : mapping of (subject, roi) to ndarray of shape (n_stimuli, n_voxels)
        The same subjects and ROIs.

    References
    ----------
    .. [1] Cichy, R. M. et al. The Algonauts Project 2021 Challenge: how the human brain makes sense of a world in
       motion. arXiv:2104.13714 (2021). doi:10.48550/arXiv.2104.13714
    """
    check_parts(measured, predicted)
    voxels = {}
    for part, values in measured.items():
        name = " ".join(part)
        check_prediction(name, values, predicted[part])
        if values.ndim != 3 or values.shape[1] < 2:
            raise ShapeError(
                f"measured responses of {name} must have at least 2 repetitions, for the reliability; got shape "
                f"{values.shape}, which should be (n_stimuli, n_repetitions, n_voxels)"
            )
        r = correlation(name, mean_over_repetitions(values), predicted[part])
        ceiling = split_half_ceiling_r(values)
        normalised = np.full(r.shape, np.nan)
        np.divide(r, ceiling, out=normalised, where=ceiling > 0)
        voxels[part] = {"pearson_r": r, "noise_ceiling_r": ceiling, "score": normalised, "unclipped": normalised}
    parts = [part_score(part, values) for part, values in voxels.items()]
    rois = dict.fromkeys(part.part for part in parts)
    lines = {roi: mean_of([part.score for part in parts if part.part == roi]) for roi in rois}
    pooled = [mean_of(np.concatenate([v["score"] for (_, of), v in voxels.items() if of == roi])) for roi in rois]
    raw = [mean_of([part.pearson_r for part in parts if part.part == roi]) for roi in rois]
    beside = {"pooled_voxels": mean_of(pooled), "pearson_r": mean_of(raw)}
    return ChallengeScore(mean_of(list(lines.values())), lines, beside, voxels)
