"""How much memory the search and fit of one subject x ROI take at most, by what holds it.

It is exact for linear encoders under the exact search, in double precision; what the others hold is estimated by them
(`Encoder.evaluate_bytes`). Banded ridge holds some arrays of n x n, or of all features side by side, more.
"""

from __future__ import annotations

from dataclasses import dataclass

from voxelcast.encoders.base import Encoder
from voxelcast.encoders.params import ProblemSize
from voxelcast.search.training import KEPT_BYTES


@dataclass(frozen=True)
class FitSize:
    """What is fitted.

    Parameters
    ----------
    size : ProblemSize
        All training stimuli, the voxels, and the features of a layer after compression, delays included.
    fitted_in_folds : bool
        Whether the compression is.
    per_voxel : bool
        Whether each voxel chooses for itself.
    proposals : int, optional
        Parameters that a search by proposals tries of an encoder; None: its whole grid.
    """

    size: ProblemSize
    n_test: int
    n_folds: int
    n_layers: int
    encoders: tuple[Encoder, ...]
    fitted_in_folds: bool = True
    per_voxel: bool = False
    ensemble: str = "none"
    proposals: int | None = None


def fit_bytes(fit: FitSize) -> dict[str, float]:
    """State the bytes that a fit holds, by what holds them; their sum is the bound.

    n training stimuli, q voxels, p features, L layers, F folds of at most m stimuli, s parameters; numbers of 8 bytes:

    - responses: ``3 n q``;
    - moments that are kept: 256 MiB at most;
    - one layer: ``4 n p + 6 p q``, and ``2 (F + 1) p q`` where the compression is fitted once;
    - scores: what `Encoder.evaluate_bytes` says (``8 s q`` of linear encoders); where voxels choose ``(2 F + 4) s q +
      2 L (F + 1) q`` more;
    - stacking: ``(F + 1) L (L + 1) q + 2 L m q``;
    - models: ``p q`` each;
    - predictions: ``n q``, twice where the best single candidate is judged too, and ``n_test q``;
    - judging: ``8 m q + n q``.
    """
    n, q, p = fit.size.n_train, fit.size.n_voxels, fit.size.n_features
    folds, layers = fit.n_folds, fit.n_layers
    n_params = fit.proposals or max(len(encoder.param_grid(fit.size)) for encoder in fit.encoders)
    m = -(-n // folds)
    mixed = fit.per_voxel or fit.ensemble != "none"
    parts = {
        "responses": 3 * n * q,
        "moments": min(KEPT_BYTES / 8, (1 + folds + folds * (folds - 1) / 2) * (p * q + 2 * p * p)),
        "one layer": 4 * n * p + 6 * p * q + (0 if fit.fitted_in_folds else 2 * (folds + 1) * p * q),
        "scores": max(encoder.evaluate_bytes(fit.size) for encoder in fit.encoders) / 8,
        "models": p * q * (layers * len(fit.encoders) if mixed else 1),
        "predictions": (2 if mixed else 1) * n * q + fit.n_test * q,
        "judging": 8 * m * q + n * q,
    }
    if fit.per_voxel:
        parts["scores"] += (2 * folds + 4) * n_params * q + 2 * layers * (folds + 1) * q
    if fit.ensemble == "stacking":
        parts["stacking"] = (folds + 1) * layers * (layers + 1) * q + 2 * layers * m * q
    return {name: 8.0 * held for name, held in parts.items()}
