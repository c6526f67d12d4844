"""Which voxels are predicted better than chance: the part of the fit step that tests its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.seeds import derive_seed
from voxelcast.scoring.permutation import benjamini_hochberg, can_permute, permutation_p_values
from voxelcast.scoring.settings import SignificanceSettings


def voxel_significance(
    prefix: str,
    measured: FloatArray,
    predicted: FloatArray,
    fold_ids: IntArray,
    groups: Sequence[str] | None,
    valid: BoolArray,
    settings: SignificanceSettings,
    seed: int,
    *,
    circular: bool,
) -> tuple[dict[str, FloatArray], dict[str, Any]]:
    """Test the voxels of one subject x ROI.

    Parameters
    ----------
    prefix : str
        Goes before the names of what is returned: ``""`` for cross-validated predictions, or ``"held_out_"``.
    measured, predicted : ndarray of shape (n_stimuli, n_valid_voxels)
    fold_ids : ndarray of shape (n_stimuli,)
    groups : sequence of str or None
    valid : ndarray of shape (n_voxels,), bool
        Voxels analysed; the others get NaN.
    settings : SignificanceSettings
    seed : int
    circular : bool
        Whether groups are runs of a time series.

    Returns
    -------
    voxels : dict of str to ndarray of shape (n_voxels,)
        ``p_value`` and ``q_value``; empty without a test.
    row : dict
        ``n_significant_voxels``, or ``no_permutation`` where there is nothing to permute.
    """
    if not settings.permutations:
        return {}, {}
    if not circular and not can_permute(fold_ids, groups):
        return {}, {f"{prefix}no_permutation": True}
    own = derive_seed(seed, "significance", prefix)
    p = np.full(len(valid), np.nan)
    p[valid] = permutation_p_values(
        measured,
        predicted,
        fold_ids,
        settings.permutations,
        own,
        groups,
        cross_validated=not prefix,
        circular=circular,
    )
    q = benjamini_hochberg(p)
    voxels = {f"{prefix}p_value": p, f"{prefix}q_value": q}
    return voxels, {f"{prefix}n_significant_voxels": int((q <= settings.alpha).sum())}
