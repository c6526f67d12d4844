"""How well the other subjects predict a subject: the ceiling where stimuli were shown once but to several subjects."""

from __future__ import annotations

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_shape
from voxelcast.core.errors import DataError
from voxelcast.scoring.correlation import constant_columns


def inter_subject_r(values: FloatArray) -> FloatArray:
    """Correlate each subject's responses with the mean of all other subjects', voxel by voxel (leave one subject out).

    With signal shared by all subjects of variance s2, and whatever is a subject's own of variance n2, S subjects give
    [1]_ ``r = s2 / sqrt((s2 + n2) (s2 + n2 / (S - 1)))``. A model of the shared signal can reach sqrt(s2 / (s2 + n2)),
    which is higher, and a model of the one subject more still: this is a ceiling for models made from other
    subjects, and a lower bound otherwise. Raises ShapeError or DataError if ``values`` is not three-dimensional or
    infinite, or there is one subject only.

    Parameters
    ----------
    values : ndarray of shape (n_subjects, n_stimuli, n_voxels)
        Responses of voxels that correspond across subjects (parcels, or a common surface), any linear unit per
        subject; each subject is scaled to unit variance per voxel before the mean. NaN marks a missing response.

    Returns
    -------
    r : ndarray of shape (n_subjects, n_voxels)
        In [-1, 1]; NaN where the subject or the others' mean is constant, or fewer than 2 stimuli remain.

    References
    ----------
    .. [1] Nastase, S. A. et al. Measuring shared responses across subjects using intersubject correlation. Social
       Cognitive and Affective Neuroscience 14, 667-685 (2019). doi:10.1093/scan/nsz037
    """
    check_shape("values", values, ("n_subjects", "n_stimuli", "n_voxels"), (None, None, None))
    n_subjects = values.shape[0]
    if n_subjects < 2:
        raise DataError(f"leaving a subject out needs at least 2 subjects; got {n_subjects}")
    if np.isinf(values).any():
        raise DataError("responses must not be infinite; mark missing ones by NaN, or leave those voxels out")
    there = ~np.isnan(values)
    scaled = np.stack([_standardised(subject, known) for subject, known in zip(values, there, strict=True)])
    total, count = scaled.sum(axis=0), there.sum(axis=0)
    r = np.empty((n_subjects, values.shape[2]))
    for subject in range(n_subjects):
        others = count - there[subject]
        mean = (total - scaled[subject]) / np.maximum(others, 1)
        r[subject] = masked_r(scaled[subject], mean, there[subject] & (others > 0))
    return r


def _standardised(values: FloatArray, there: np.ndarray) -> FloatArray:
    """Z-score what is there, put 0 where nothing is; constant columns become 0."""
    n = np.maximum(there.sum(axis=0), 1)
    filled = np.where(there, values, 0.0).astype(np.float64)
    centred = np.where(there, filled - filled.sum(axis=0) / n, 0.0)
    sd = np.sqrt((centred**2).sum(axis=0) / n)
    scale = np.abs(filled).max(axis=0)
    varies = sd > 16 * np.finfo(np.float64).eps * scale
    return np.asarray(np.divide(centred, sd, out=np.zeros_like(centred), where=varies))


def masked_r(a: FloatArray, b: FloatArray, used: np.ndarray) -> FloatArray:
    """Correlate two arrays column by column over the rows ``used``, all of shape (n_stimuli, n_voxels)."""
    n = np.maximum(used.sum(axis=0), 1)
    # A value outside the rows used is put at their mean, where it adds nothing.
    parts = [np.where(used, x - np.where(used, x, 0.0).sum(axis=0) / n, 0.0) for x in (a, b)]
    norms = np.linalg.norm(parts[0], axis=0) * np.linalg.norm(parts[1], axis=0)
    known = ~(constant_columns(parts[0]) | constant_columns(parts[1])) & (norms > 0) & (used.sum(axis=0) > 1)
    r = np.full(a.shape[1], np.nan)
    np.divide(np.einsum("ij,ij->j", *parts), norms, out=r, where=known)
    return np.asarray(np.clip(r, -1.0, 1.0))
