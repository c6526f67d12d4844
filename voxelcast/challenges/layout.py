"""What the Algonauts 2021 challenge asks of a submission, and what a given content lacks of it.

A submission is a pickled ``{ROI: {subject: array (n_test, n_voxels)}}`` named ``mini_track.pkl`` or ``full_track.pkl``,
alone at the root of a zip of the same stem. Making and checking share the rules of this file, so that what is made is
always accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, cast, get_args

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_option
from voxelcast.core.errors import DataError, OptionError, ShapeError, UnknownNameError, VoxelcastError
from voxelcast.datasets.formats.algonauts2021 import EXPECTED_VOXELS, MINI_ROIS, SUBJECTS
from voxelcast.datasets.formats.algonauts2021_layout import WHOLE_BRAIN, Track

VoxelTable = Mapping[str, Mapping[str, int]]

Part = tuple[str, str]
"""Subject and ROI (2021), hemisphere (2023) or run (2025)."""

Shape = tuple[int, int]
"""Number of held-out stimuli, and of voxels."""

TRACK_ROIS: Final[Mapping[Track, tuple[str, ...]]] = {
    "mini": MINI_ROIS,
    "full": (WHOLE_BRAIN,),
}
"""ROIs of each track, in the order of the challenge's own file."""


def check_track(track: str) -> Track:
    """Return the track, or raise OptionError if there is none of that name."""
    check_option("track", track, get_args(Track))
    return "full" if track == "full" else "mini"


def required_voxels(track: Track, expected_voxels: VoxelTable | None) -> dict[str, dict[str, int]]:
    """List what a submission must hold: ``{ROI: {subject: n_voxels}}`` in the challenge's order.

    Parameters
    ----------
    track : {"mini", "full"}
    expected_voxels : mapping or None
        ``{subject: {ROI: n_voxels}}``; None means the challenge's ten subjects and their voxel counts.

    Raises
    ------
    OptionError
        If the table has none of the track's ROIs.
    """
    if expected_voxels is None:
        expected_voxels = {subject: EXPECTED_VOXELS[subject] for subject in SUBJECTS}
    required = {
        roi: {subject: table[roi] for subject, table in expected_voxels.items() if roi in table}
        for roi in TRACK_ROIS[track]
    }
    required = {roi: subjects for roi, subjects in required.items() if subjects}
    if not required:
        raise OptionError(
            f"expected_voxels must hold an ROI of the {track} track ({', '.join(TRACK_ROIS[track])}); got none"
        )
    return required


def find_problems(content: object, required: Mapping[str, Mapping[str, int]], n_test: int) -> list[VoxelcastError]:
    """Compare the content of a submission with what is required.

    Parameters
    ----------
    content : object
        Should be ``{ROI: {subject: ndarray of shape (n_test, n_voxels)}}``.
    required : mapping
        ``{ROI: {subject: n_voxels}}``, as from :func:`required_voxels`.
    n_test : int
        Number of held-out stimuli.

    Returns
    -------
    problems : list of VoxelcastError
        Not raised; names before shapes before values within each ROI, empty if the submission is in order.
    """
    if not isinstance(content, Mapping):
        return [DataError(f"the submission must be a dict {{ROI: {{subject: array}}}}; got {type(content).__name__}")]
    problems = _name_problems("ROI", content, required, "the submission")
    for roi, subjects in required.items():
        if roi not in content:
            continue
        if not isinstance(content[roi], Mapping):
            got = type(content[roi]).__name__
            problems.append(DataError(f"ROI {roi!r} must hold a dict {{subject: array}}; got {got}"))
            continue
        problems += _name_problems("subject", content[roi], subjects, f"ROI {roi!r}")
        for subject, n_voxels in subjects.items():
            if subject in content[roi]:
                problems += array_problems(f"{subject} {roi}", content[roi][subject], (n_test, n_voxels))
    return problems


def checked_content(
    content: object, required: Mapping[str, Mapping[str, int]], n_test: int, source: str
) -> dict[tuple[str, str], FloatArray]:
    """Return the arrays by (subject, ROI), in the required order; raise the first problem, if any."""
    raise_first(find_problems(content, required, n_test), source)
    arrays = cast(Mapping[str, Mapping[str, FloatArray]], content)  # as was just checked
    return {(subject, roi): arrays[roi][subject] for roi, subjects in required.items() for subject in subjects}


def _name_problems(
    what: str, got: Iterable[object], required: Mapping[str, object], where: str
) -> list[VoxelcastError]:
    names = list(got)
    problems: list[VoxelcastError] = []
    missing = [name for name in required if name not in names]
    unknown = [name for name in names if name not in required]
    if missing:
        problems.append(
            DataError(f"{where} must hold every {what}; missing: {', '.join(missing)}; add predictions for them")
        )
    if unknown:
        listed = ", ".join(repr(name) for name in unknown)
        allowed = ", ".join(required)
        problems.append(
            UnknownNameError(f"{where} holds an unknown {what}: {listed}; allowed: {allowed}; remove or rename it")
        )
    return problems


def as_float32(array: FloatArray) -> FloatArray:
    """Return predictions as a submission holds them.

    A number beyond the range of float32 becomes infinite, which the checks of this file refuse.
    """
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def part_problems(predictions: Mapping[Part, object], shapes: Mapping[Part, Shape], what: str) -> list[VoxelcastError]:
    """List what is wrong with arrays by (subject, hemisphere) or (subject, run) against the shapes required."""
    problems: list[VoxelcastError] = []
    for subject in dict.fromkeys(subject for subject, _ in (*shapes, *predictions)):
        required = {part: shape for (of, part), shape in shapes.items() if of == subject}
        got = [part for of, part in predictions if of == subject]
        problems += _name_problems(what, got, required, f"subject {subject!r}")
    for part, shape in shapes.items():
        if part in predictions:
            problems += array_problems(" ".join(part), predictions[part], shape)
    return problems


def array_problems(name: str, array: object, shape: Shape) -> list[VoxelcastError]:
    """List what is wrong with one array of predictions."""
    if not isinstance(array, np.ndarray):
        return [DataError(f"predictions of {name} must be a NumPy array; got {type(array).__name__}")]
    if array.dtype.kind != "f":
        return [DataError(f"predictions of {name} must be floating-point numbers; got dtype {array.dtype}")]
    if array.shape != shape:
        wanted = f"(n_test={shape[0]}, n_voxels={shape[1]})"
        return [ShapeError(f"predictions of {name} must have shape {wanted}; got {array.shape}")]
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if bad:
        return [
            DataError(
                f"predictions of {name} must be finite; got {bad} of {array.size} values that are NaN or infinite; "
                "the server would refuse the file or score it NaN"
            )
        ]
    return []


def raise_first(problems: list[VoxelcastError], source: str = "") -> None:
    """Raise the first problem, if any, naming ``source`` and saying how many others there are."""
    if not problems:
        return
    first = problems[0]
    others = len(problems) - 1
    tail = f" (and {others} other problem{'s' if others > 1 else ''})" if others else ""
    raise type(first)(f"{source}{': ' if source else ''}{first}{tail}")
