r"""Responses made from features by a known model.

For voxel :math:`v`, stimulus :math:`i` and presentation :math:`t`

.. math::

    y_{itv} = \sqrt{s}\, x_{iv} + \sqrt{1 - s}\, (\sqrt{c}\, g_{itv} + \sqrt{1 - c}\, e_{itv})

with the signal :math:`x_{iv} = \sum_k w_{kv} z_{ik}`, where :math:`z_{ik}` are the leading principal components of the
driving features, each of unit variance over the training stimuli, and :math:`w_{kv}` are normal weights scaled to
:math:`\sum_k w_{kv}^2 = 1`; the noise shared between voxels :math:`g_{itv} = \sum_m a_{mv} h_{itm}` with five factors
:math:`h` and :math:`\sum_m a_{mv}^2 = 1`; the private noise :math:`e`; and :math:`h`, :math:`e` independent standard
normal. So over the training stimuli the signal and every noise have unit variance, and :math:`s` is the share of signal
in one presentation. The best possible correlation with the mean of :math:`k` presentations is
:math:`\sqrt{s / (s + (1 - s) / k)}`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.core.seeds import generator

N_NOISE_FACTORS = 5


def driving_components(features: NDArray[Any], n_train: int, n_components: int = 20) -> FloatArray:
    """Reduce features to their leading principal components, as estimated on the training stimuli.

    Features (n_stimuli, n_features), of the ``n_train`` >= 2 training stimuli first, are standardised with the training
    mean and standard deviation; those that are constant there are left out. The components (n_stimuli, n_kept),
    float64, have zero mean and unit variance over the training stimuli; they are fewer than ``n_components`` where
    the training features have a lower rank.

    Raises ShapeError, DataError where the features are no matrix, not finite, or all constant.
    """
    if features.ndim != 2 or not 2 <= n_train <= len(features):
        raise ShapeError(
            f"features must have shape (n_stimuli >= n_train={n_train} >= 2, n_features); got {features.shape}"
        )
    values = features.astype(np.float64)
    check_finite("features", values)
    centred = values - values[:n_train].mean(axis=0)
    spread = centred[:n_train].std(axis=0)
    varied = spread > 1e-9 * max(1.0, float(np.abs(values).max()))
    if not varied.any():
        raise DataError(
            "driving features must vary over the training stimuli; got only constant ones; choose other drivers"
        )
    standard = centred[:, varied] / spread[varied]
    _, singular, right = np.linalg.svd(standard[:n_train], full_matrices=False)
    n_kept = min(n_components, int(np.count_nonzero(singular > 1e-9 * singular[0])))
    # The sign of a component is arbitrary; fixing it keeps the simulation the same under any linear algebra library.
    signs = np.sign(right[np.arange(n_kept), np.abs(right[:n_kept]).argmax(axis=1)])
    # singular / sqrt(n_train) is the component's standard deviation over the training stimuli.
    scale = signs * np.sqrt(n_train) / singular[:n_kept]
    return np.asarray(standard @ right[:n_kept].T * scale)  # (n_stimuli, n_kept)


def planted_signal(components: FloatArray, n_voxels: int, *, seed: int) -> FloatArray:
    """Mix components into the noise-free responses of voxels, (n_stimuli, n_voxels), float64.

    Both have unit variance over the training stimuli; the components (n_stimuli, n_components) are uncorrelated there.
    """
    weights = generator(seed, "weights").standard_normal((components.shape[1], n_voxels))
    return np.asarray(components @ (weights / np.linalg.norm(weights, axis=0)))


def add_noise(
    signal: FloatArray, n_repetitions: int, *, signal_share: float, shared_noise: float, seed: int, part: str = ""
) -> FloatArray:
    """Present each stimulus several times to noisy voxels; (n_stimuli, n_repetitions, n_voxels), float32.

    Parameters
    ----------
    signal : ndarray of shape (n_stimuli, n_voxels)
        Noise-free responses of unit variance.
    signal_share : float
        Share of a presentation's variance that is signal, in (0, 1].
    shared_noise : float
        Share of the noise variance that voxels have in common, in [0, 1].
    seed : int
        The voxels' loadings on the shared noise depend on it alone, the noise on ``part`` too.
    part : str
        Name of these presentations, e.g. ``"train"``.
    """
    if not 0 < signal_share <= 1 or not 0 <= shared_noise <= 1 or n_repetitions < 1:
        raise OptionError(
            "signal_share must lie in (0, 1], shared_noise in [0, 1] and n_repetitions be at least 1; "
            f"got {signal_share}, {shared_noise} and {n_repetitions}"
        )
    n_stimuli, n_voxels = signal.shape
    loadings = generator(seed, "loadings").standard_normal((N_NOISE_FACTORS, n_voxels)).astype(np.float32)
    loadings *= np.float32(np.sqrt((1 - signal_share) * shared_noise)) / np.linalg.norm(loadings, axis=0)
    rng = generator(seed, "noise", part)
    factors = rng.standard_normal((n_stimuli, n_repetitions, N_NOISE_FACTORS), dtype=np.float32)
    responses: FloatArray = rng.standard_normal((n_stimuli, n_repetitions, n_voxels), dtype=np.float32)
    responses *= np.float32(np.sqrt((1 - signal_share) * (1 - shared_noise)))
    responses += factors @ loadings
    responses += (np.sqrt(signal_share) * signal).astype(np.float32)[:, np.newaxis]
    return responses
