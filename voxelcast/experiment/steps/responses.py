"""The step that reads one subject's responses in one ROI, checks them and prepares what the fit needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.checks import check_same_stimuli
from voxelcast.core.errors import DataError
from voxelcast.core.seeds import generator
from voxelcast.datasets.base import ResponseSet
from voxelcast.datasets.registry import open_once
from voxelcast.datasets.settings import DatasetSettings
from voxelcast.execution.steps import Job, StepContext
from voxelcast.scoring.ceiling import noise_ceiling_r
from voxelcast.scoring.correlation import constant_columns
from voxelcast.scoring.variance import explainable_variance, ncsnr, noise_ceiling_r2, repetition_counts
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.atomic import save_arrays


@dataclass(frozen=True)
class ResponsesJob(Job):
    """Write the mean responses and noise ceilings of a subject x ROI.

    Of the dataset count its settings without paths, and the hashes of the files of the responses.
    """

    kind = "responses"
    version = 2
    dataset: DatasetSettings
    files: tuple[str, ...]
    stimuli: tuple[str, ...]
    n_train: int
    subject: str
    roi: str
    invalid_voxels: Literal["stop", "exclude"]
    control: Literal["none", "shuffle"]
    seed: int

    @property
    def name(self) -> str:
        """Subject and ROI."""
        return f"{self.subject}_{self.roi}"

    def run(self, folder: Path, context: StepContext) -> None:
        """Write the responses.

        ``train.npy`` (n_train, n_voxels) and ``test.npy`` where there are test responses, float64; ``ceilings.npz`` and
        ``test_ceilings.npz`` with arrays (n_voxels,); ``valid.npy`` (n_voxels,) bool; ``facts.json``.

        Raises
        ------
        DataError
            If a voxel is constant or has no response to some stimulus and ``invalid_voxels`` is ``"stop"``.
        AlignmentError
            If the responses' stimulus ids are not those of the dataset's stimuli, in their order.
        """
        source, subject, roi = open_once(self.dataset), self.subject, self.roi
        train = _aligned(source.responses(subject, roi), source.train_stimuli)
        mean = train.mean()
        reasons = invalid_reasons(mean)
        if reasons and self.invalid_voxels == "stop":
            raise DataError(_message(train, reasons))
        valid: BoolArray = np.ones(train.n_voxels, dtype=bool)
        valid[list(reasons)] = False
        if not valid.any():
            raise DataError(
                f"{subject} {roi}: none of {train.n_voxels} voxels can be used ({_first(reasons)}); leave this ROI out"
            )
        if self.control == "shuffle":
            mean = mean[generator(self.seed, "control", subject, roi).permutation(len(mean))]
        np.save(folder / "train.npy", mean)
        np.save(folder / "valid.npy", valid)
        save_arrays(folder / "ceilings.npz", _ceilings(train, self.seed))
        if source.has_test_responses:
            test = _aligned(source.responses(subject, roi, "test"), source.test_stimuli)
            np.save(folder / "test.npy", test.mean())
            save_arrays(folder / "test_ceilings.npz", _ceilings(test, self.seed))
        facts = {
            "subject": subject,
            "roi": roi,
            "unit": train.unit,
            "n_voxels": train.n_voxels,
            "n_repetitions": train.n_repetitions,
            "invalid": {str(voxel): reason for voxel, reason in reasons.items()},
        }
        (folder / "facts.json").write_text(json.dumps(facts))


def valid_responses(folder: Path, train_rows: IntArray) -> tuple[FloatArray, BoolArray]:
    """Read a subject's responses to the readable training stimuli, in the voxels that are analysed.

    Returns
    -------
    train : ndarray of shape (n_train, n_valid_voxels)
    valid : ndarray of shape (n_voxels,), bool
    """
    valid: BoolArray = np.load(folder / "valid.npy")
    # Mapped: only the rows wanted come into memory.
    train: FloatArray = np.load(folder / "train.npy", mmap_mode="r")[train_rows]
    return (train if valid.all() else np.ascontiguousarray(train[:, valid])), valid


def mean_responses(folder: Path, train_rows: IntArray) -> FloatArray:
    """Return the mean of the finite responses of each voxel, shape (n_voxels,): the prediction of one left out."""
    train = np.load(folder / "train.npy", mmap_mode="r")[train_rows]
    return np.asarray(np.nanmean(np.where(np.isfinite(train), train, np.nan), axis=0))


def excluded_voxels(folder: Path) -> dict[str, str]:
    """Read which voxels cannot be analysed, by their indices, and why."""
    found: dict[str, str] = json.loads((folder / "facts.json").read_text())["invalid"]
    return found


def n_voxels(folder: Path) -> int:
    """Read how many voxels a finished step prepared."""
    return int(json.loads((folder / "facts.json").read_text())["n_voxels"])


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
        "every voxel needs varying, finite responses; correct the data, or leave them out with invalid_voxels=exclude"
    )


def _ceilings(responses: ResponseSet, seed: int) -> dict[str, FloatArray]:
    """Compute how well each voxel's mean response could be predicted, as r, R2 and explainable variance."""
    if responses.n_repetitions < 2:
        unknown = np.full(responses.n_voxels, np.nan)
        return dict.fromkeys(("noise_ceiling_r", "noise_ceiling_r2", "explainable_variance"), unknown)
    values = np.where(np.isfinite(responses.values), responses.values, np.nan)
    return {
        "noise_ceiling_r": noise_ceiling_r(values, seed=seed),
        "noise_ceiling_r2": noise_ceiling_r2(ncsnr(values), repetition_counts(values)),
        "explainable_variance": explainable_variance(values),
    }
