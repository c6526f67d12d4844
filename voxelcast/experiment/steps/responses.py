"""The step that reads one subject's responses in one ROI, checks them and prepares what the fit needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.checks import check_same_stimuli
from voxelcast.core.errors import DataError
from voxelcast.core.settings import NO_EFFECT, content
from voxelcast.datasets.base import ResponseSet
from voxelcast.datasets.registry import open_once
from voxelcast.datasets.settings import DatasetSettings
from voxelcast.execution.steps import Job, StepContext
from voxelcast.scoring.ceiling import reliability
from voxelcast.scoring.correlation import constant_columns
from voxelcast.scoring.variance import explainable_variance
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.keys import content_key
from voxelcast.store.result import ResultWriter, StepResult
from voxelcast.store.steps import StepId, StepStore


class PairJob(Job):
    """A job on one subject x ROI, which it is named by."""

    subject: str
    roi: str

    @property
    def name(self) -> str:
        """Subject and ROI."""
        return f"{self.subject}_{self.roi}"


@dataclass(frozen=True)
class TrainingResponses:
    """The responses to training stimuli that a finished step has, counted by their values.

    So what is fitted to them is kept where held-out stimuli come or go, or files are written anew.
    """

    step: Annotated[StepId, NO_EFFECT]
    hash: str

    @classmethod
    def of(cls, step: StepId, store: StepStore) -> TrainingResponses:
        """Read the hash of a finished step."""
        return cls(step, store.read(step).json("facts")["training"])


@dataclass(frozen=True)
class ResponsesJob(PairJob):
    """Write the mean responses and noise ceilings of a subject x ROI.

    Of the dataset count its settings without paths, and the hashes of the files of the responses.
    """

    kind = "responses"
    version = 4
    dataset: DatasetSettings
    files: tuple[str, ...]
    stimuli: tuple[str, ...]
    n_train: int
    subject: str
    roi: str
    invalid_voxels: Literal["stop", "exclude"]

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write the responses.

        ``train`` (n_train, n_voxels) and ``test`` where there are test responses, float64; groups ``ceilings`` and
        ``test_ceilings`` of arrays (n_voxels,); ``valid`` (n_voxels,) bool; ``facts``.

        Raises DataError if a voxel is constant or has no response to some stimulus and ``invalid_voxels`` is
        ``"stop"``, and AlignmentError if the stimulus ids are not those of the dataset's stimuli, in their order.
        """
        source, subject, roi = open_once(self.dataset), self.subject, self.roi
        train = _aligned(source.responses(subject, roi), source.train_stimuli)
        mean = train.mean()
        reasons, valid = invalid_voxels(mean)
        reasons |= train.faults
        test = None
        if source.has_test_responses:
            test = _aligned(source.responses(subject, roi, "test"), source.test_stimuli)
            missing = np.isnan(test.mean()).sum(axis=0)
            for voxel in np.flatnonzero(missing).tolist():
                why = test.faults.get(voxel, f"no response (NaN) to {missing[voxel]} of {len(test.values)} stimuli")
                reasons.setdefault(voxel, f"{why}, held out")
        valid[list(reasons)] = False
        first = _first_reasons(reasons)
        if reasons and self.invalid_voxels == "stop":
            raise DataError(
                f"{subject} {roi}: {len(reasons)} of {train.n_voxels} voxels cannot be analysed ({first}); every voxel "
                "needs varying, finite responses; correct the data, or leave them out with invalid_voxels=exclude"
            )
        if not valid.any():
            raise DataError(
                f"{subject} {roi}: none of {train.n_voxels} voxels can be used ({first}); leave this ROI out"
            )
        writer.array("train", mean)
        writer.array("valid", valid)
        measured, drift = ceilings(train.values)
        writer.arrays("ceilings", measured)
        if test is not None:
            writer.array("test", test.mean())
            found, held_out_drift = ceilings(test.values)
            drift = drift or held_out_drift
            published = source.published_ceiling_r2(subject, roi)
            if published is not None:
                shares = {"noise_ceiling_r2": published, "reliability": published}
                found |= shares | {"noise_ceiling_r": np.sqrt(published), "reliability_se": np.zeros(len(published))}
            writer.arrays("test_ceilings", found)
        facts = {
            "subject": subject,
            "roi": roi,
            "unit": train.unit,
            "n_voxels": train.n_voxels,
            "n_repetitions": train.n_repetitions,
            "drift": drift,
            "invalid": {str(voxel): reason for voxel, reason in reasons.items()},
            "training": content_key(content([mean, valid, measured])),
        }
        writer.json("facts", facts)


def valid_responses(responses: StepResult, train_rows: IntArray) -> tuple[FloatArray, BoolArray]:
    """Read a subject's responses to the readable training stimuli in the voxels that are analysed, and say which are.

    Shapes are (n_train, n_valid_voxels) and (n_voxels,).
    """
    valid: BoolArray = responses.array("valid")
    # Mapped: only the rows wanted come into memory.
    train: FloatArray = responses.mapped("train")[train_rows]
    return (train if valid.all() else np.ascontiguousarray(train[:, valid])), valid


def mean_responses(responses: StepResult, train_rows: IntArray) -> FloatArray:
    """Return the mean of the finite responses of each voxel, shape (n_voxels,): the prediction of one left out."""
    train = responses.mapped("train")[train_rows]
    return np.asarray(np.nanmean(np.where(np.isfinite(train), train, np.nan), axis=0))


def _aligned(responses: ResponseSet, stimuli: Sequence[Stimulus]) -> ResponseSet:
    ids = [stimulus.stimulus_id for stimulus in stimuli]
    check_same_stimuli(f"responses of {responses.subject} {responses.roi}", responses.stimulus_ids, "the stimuli", ids)
    return responses


def invalid_voxels(mean: FloatArray) -> tuple[dict[int, str], BoolArray]:
    """Say which voxels cannot be analysed and why, and which can, shape (n_voxels,).

    ``mean`` responses have the shape (n_stimuli, n_voxels), NaN where a stimulus has none.
    """
    missing = np.isnan(mean).sum(axis=0)
    infinite = np.asarray(np.isinf(mean).any(axis=0))
    constant = constant_columns(np.where(np.isfinite(mean), mean, 0.0))
    valid = ~((missing > 0) | infinite | constant)
    reasons: dict[int, str] = {}
    for voxel in np.flatnonzero(~valid).tolist():
        if missing[voxel]:
            reasons[voxel] = f"no response (NaN) to {missing[voxel]} of {len(mean)} stimuli"
        else:
            reasons[voxel] = (
                "infinite responses" if infinite[voxel] else f"the same response to all {len(mean)} stimuli"
            )
    return reasons, valid


def _first_reasons(reasons: Mapping[int, str]) -> str:
    """Say the most frequent reasons, with the first voxel of each."""
    counts = Counter(reasons.values())
    voxels = {reason: voxel for voxel, reason in reversed(list(reasons.items()))}
    return "; ".join(
        f"voxel {voxels[reason]}{f' and {count - 1} more' if count > 1 else ''}: {reason}"
        for reason, count in counts.most_common(3)
    )


def spread(values: FloatArray, valid: BoolArray) -> FloatArray:
    """Insert values of the valid voxels, shape (..., n_valid); NaN for the others."""
    full = np.full((*values.shape[:-1], len(valid)), np.nan)
    full[..., valid] = values
    return full


def ceilings(values: FloatArray) -> tuple[dict[str, FloatArray], str]:
    """Estimate how well each voxel's mean response could be predicted, and say where it drifts over repetitions.

    ``values`` has the shape (n_stimuli, n_repetitions, n_voxels). The arrays, (n_voxels,), are ``noise_ceiling_r`` and
    its square, ``noise_ceiling_r2``, the ``reliability`` that they are clipped from with its standard error, and
    ``explainable_variance``; NaN with fewer than two repetitions.
    """
    values = np.where(np.isfinite(values), values, np.nan)
    found = reliability(values)
    arrays = {
        "noise_ceiling_r": found.ceiling_r,
        "noise_ceiling_r2": found.ceiling_r**2,
        "explainable_variance": explainable_variance(values),
        "reliability": found.share,
        "reliability_se": found.se,
    }
    return arrays, found.drift()
