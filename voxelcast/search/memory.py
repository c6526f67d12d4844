"""How much memory the search and fit of one subject x ROI take at most, by what holds it.

It counts the encoders that work on moments (`voxelcast.encoders.base.Encoder`) under the exact search, in double
precision. The others see a copy of the training part's responses in each fold, n q numbers more, and hold what they
themselves need; banded ridge holds n_layers kernels of n x n.
"""

from __future__ import annotations

from dataclasses import dataclass

from voxelcast.search.training import _KEPT_BYTES


@dataclass(frozen=True)
class FitSize:
    """What is fitted.

    Parameters
    ----------
    n_train, n_test, n_voxels : int
    n_features : int
        Of a layer after compression, delays included: the p of its models.
    n_folds : int
    n_layers, n_encoders : int
    n_settings : int
        The most that an encoder lists.
    fitted_in_folds : bool
        Whether the compression is.
    per_voxel : bool
        Whether each voxel chooses for itself.
    ensemble : str
    n_resamples : int
        Of the bootstrap.
    """

    n_train: int
    n_test: int
    n_voxels: int
    n_features: int
    n_folds: int
    n_layers: int
    n_encoders: int
    n_settings: int
    fitted_in_folds: bool = True
    per_voxel: bool = False
    ensemble: str = "none"
    n_resamples: int = 1000


def fit_bytes(size: FitSize) -> dict[str, float]:
    """State the bytes that a fit holds, by what holds them; their sum is the bound.

    n training stimuli, q voxels, p features, L layers, F folds of at most m stimuli, s settings; numbers of 8 bytes:

    - responses: ``3 n q``;
    - moments that are kept: 256 MiB at most;
    - one layer: ``4 n p + 6 p q``, and ``2 (F + 1) p q`` where the compression is fitted once;
    - scores: ``8 s q``; where voxels choose ``(2 F + 12) s q + 2 L (F + 1) q``;
    - stacking: ``(F + 1) L (L + 1) q + 2 L m q``;
    - models: ``p q`` each;
    - predictions: ``n q``, twice where the best single candidate is judged too, and ``n_test q``;
    - judging: ``8 m q``; the bootstrap, ``3 n_resamples q``, comes when the search is over and counts where it holds
      more than what is gone by then.
    """
    n, q, p = size.n_train, size.n_voxels, size.n_features
    folds, layers, settings = size.n_folds, size.n_layers, size.n_settings
    m = -(-n // folds)
    mixed = size.per_voxel or size.ensemble != "none"
    parts = {
        "responses": 3 * n * q,
        "moments": min(_KEPT_BYTES / 8, (1 + folds + folds * (folds - 1) / 2) * (p * q + 2 * p * p)),
        "one layer": 4 * n * p + 6 * p * q + (0 if size.fitted_in_folds else 2 * (folds + 1) * p * q),
        "scores": 8 * settings * q,
        "models": p * q * (layers * size.n_encoders if mixed else 1),
        "predictions": (2 if mixed else 1) * n * q + size.n_test * q,
        "judging": 8 * m * q,
    }
    if size.per_voxel:
        parts["scores"] = (2 * folds + 12) * settings * q + 2 * layers * (folds + 1) * q
    if size.ensemble == "stacking":
        parts["stacking"] = (folds + 1) * layers * (layers + 1) * q + 2 * layers * m * q
    searched = sum(parts[name] for name in ("moments", "one layer", "scores")) + parts.get("stacking", 0) + 2 * n * q
    parts["bootstrap"] = max(0.0, 3 * size.n_resamples * q - searched)
    return {name: 8.0 * held for name, held in parts.items()}
