"""The step that reads one subject's responses in one ROI, checks them and prepares what the fit needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray
from voxelcast.core.checks import check_same_stimuli
from voxelcast.core.errors import DataError
from voxelcast.core.seeds import generator
from voxelcast.datasets.base import ResponseSet
from voxelcast.experiment.builders import dataset_from_json
from voxelcast.scoring.ceiling import noise_ceiling_r
from voxelcast.scoring.correlation import constant_columns
from voxelcast.stimuli.stimulus import Stimulus

VERSION = 1


def prepare_responses(
    folder: Path, *, dataset: str, subject: str, roi: str, invalid_voxels: str, control: str, seed: int
) -> None:
    """Write the mean responses and noise ceilings of a subject x ROI.

    ``train.npy`` (n_train, n_voxels) and ``test.npy`` where there are test responses, float64; ``ceiling.npy`` and
    ``test_ceiling.npy`` (n_voxels,); ``valid.npy`` (n_voxels,) bool; ``facts.json``.

    Raises
    ------
    DataError
        If a voxel is constant or has no response to some stimulus and ``invalid_voxels`` is ``"stop"``.
    AlignmentError
        If the responses' stimulus ids are not those of the dataset's stimuli, in their order.
    """
    source = dataset_from_json(dataset)
    train = _aligned(source.responses(subject, roi), source.train_stimuli)
    mean = train.mean()
    reasons = invalid_reasons(mean)
    if reasons and invalid_voxels == "stop":
        raise DataError(_message(train, reasons))
    valid: BoolArray = np.ones(train.n_voxels, dtype=bool)
    valid[list(reasons)] = False
    if not valid.any():
        raise DataError(
            f"{subject} {roi}: none of {train.n_voxels} voxels can be used ({_first(reasons)}); leave this ROI out"
        )
    if control == "shuffle":
        mean = mean[generator(seed, "control", subject, roi).permutation(len(mean))]
    np.save(folder / "train.npy", mean)
    np.save(folder / "valid.npy", valid)
    np.save(folder / "ceiling.npy", _ceiling(train, seed))
    if source.has_test_responses:
        test = _aligned(source.responses(subject, roi, "test"), source.test_stimuli)
        np.save(folder / "test.npy", test.mean())
        np.save(folder / "test_ceiling.npy", _ceiling(test, seed))
    facts = {
        "subject": subject,
        "roi": roi,
        "unit": train.unit,
        "n_voxels": train.n_voxels,
        "n_repetitions": train.n_repetitions,
        "invalid": {str(voxel): reason for voxel, reason in reasons.items()},
    }
    (folder / "facts.json").write_text(json.dumps(facts))


def _aligned(responses: ResponseSet, stimuli: Sequence[Stimulus]) -> ResponseSet:
    ids = [stimulus.stimulus_id for stimulus in stimuli]
    check_same_stimuli(f"responses of {responses.subject} {responses.roi}", responses.stimulus_ids, "the stimuli", ids)
    return responses


def invalid_reasons(mean: FloatArray) -> dict[int, str]:
    """Say which voxels cannot be analysed and why.

    Parameters
    ----------
    mean : ndarray of shape (n_stimuli, n_voxels)
        Mean responses; NaN where a stimulus has none.
    """
    missing = np.isnan(mean).sum(axis=0)
    infinite = np.asarray(np.isinf(mean).any(axis=0))
    constant = constant_columns(np.where(np.isfinite(mean), mean, 0.0))
    reasons: dict[int, str] = {}
    for voxel in range(mean.shape[1]):
        if missing[voxel]:
            reasons[voxel] = f"no response (NaN) to {missing[voxel]} of {len(mean)} stimuli"
        elif infinite[voxel]:
            reasons[voxel] = "infinite responses"
        elif constant[voxel]:
            reasons[voxel] = f"the same response to all {len(mean)} stimuli"
    return reasons


def _first(reasons: dict[int, str]) -> str:
    voxel, reason = next(iter(reasons.items()))
    return f"voxel {voxel}: {reason}"


def _message(train: ResponseSet, reasons: dict[int, str]) -> str:
    return (
        f"{train.subject} {train.roi}: {len(reasons)} of {train.n_voxels} voxels cannot be analysed "
        f"({_first(reasons)}); "
        "every voxel needs varying, finite responses; mend the data, or leave them out with invalid_voxels=exclude"
    )


def _ceiling(responses: ResponseSet, seed: int) -> FloatArray:
    if responses.n_repetitions < 2:
        return np.full(responses.n_voxels, np.nan)
    return noise_ceiling_r(responses.values, seed=seed)
