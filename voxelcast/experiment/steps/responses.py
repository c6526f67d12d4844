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
from voxelcast.datasets.registry import open_once
from voxelcast.datasets.settings import DatasetSettings
from voxelcast.scoring.ceiling import noise_ceiling_r
from voxelcast.scoring.correlation import constant_columns
from voxelcast.scoring.variance import explainable_variance, ncsnr, noise_ceiling_r2, repetition_counts
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.atomic import save_arrays

VERSION = 2


def prepare_responses(
    folder: Path, *, dataset: DatasetSettings, subject: str, roi: str, invalid_voxels: str, control: str, seed: int
) -> None:
    """Write the mean responses and noise ceilings of a subject x ROI.

    ``train.npy`` (n_train, n_voxels) and ``test.npy`` where there are test responses, float64; ``ceilings.npz`` and
    ``test_ceilings.npz`` with arrays (n_voxels,); ``valid.npy`` (n_voxels,) bool; ``facts.json``.

    Raises
    ------
    DataError
        If a voxel is constant or has no response to some stimulus and ``invalid_voxels`` is ``"stop"``.
    AlignmentError
        If the responses' stimulus ids are not those of the dataset's stimuli, in their order.
    """
    source = open_once(dataset)
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
    save_arrays(folder / "ceilings.npz", _ceilings(train, seed))
    if source.has_test_responses:
        test = _aligned(source.responses(subject, roi, "test"), source.test_stimuli)
        np.save(folder / "test.npy", test.mean())
        save_arrays(folder / "test_ceilings.npz", _ceilings(test, seed))
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


def _ceilings(responses: ResponseSet, seed: int) -> dict[str, FloatArray]:
    """How well each voxel's mean response could be predicted, each quantity by its own definition."""
    if responses.n_repetitions < 2:
        unknown = np.full(responses.n_voxels, np.nan)
        return dict.fromkeys(("noise_ceiling_r", "noise_ceiling_r2", "explainable_variance"), unknown)
    values = np.where(np.isfinite(responses.values), responses.values, np.nan)
    return {
        "noise_ceiling_r": noise_ceiling_r(values, seed=seed),
        "noise_ceiling_r2": noise_ceiling_r2(ncsnr(values), repetition_counts(values)),
        "explainable_variance": explainable_variance(values),
    }
