"""What a compression of one layer costs: memory at most, by what holds it, and operations, roughly."""

from __future__ import annotations

from voxelcast.core.cost import Cost
from voxelcast.features import covariance, krylov
from voxelcast.features.pca import BLOCK_BYTES, COLUMNS, MOST_SQUARE

_PASSES = 20  # over the features, that block Krylov iteration usually takes
READING = 25
"""Operations that take as long as to read a number of a block of features, and to convert it: some 3 ns."""
_SHARDS = 0.02  # seconds in which the shards of a thousand stimuli are opened, for every training set
_SOLVING = 2e5  # the same of a row of a Gram matrix, besides its eigenvalues: centring, and LAPACK's small steps


def compress_bytes(n_stimuli: int, n_features: int, components: int, *, scale: bool = False) -> dict[str, float]:
    """State the bytes that principal components of one layer need; their sum is the bound for any number of folds.

    Let m be the smaller of the numbers of stimuli and features. Up to `voxelcast.features.pca.MOST_SQUARE`, three
    matrices of m x m are held at a time (five where more than a quarter of the components is asked for); with ``scale``
    Gram matrices of 1 GB in all, or one. Above, the bases of block Krylov iteration take their place. Besides, a few
    blocks of features, and the scores.
    """
    m, everything = min(n_stimuli, n_features), 8.0 * n_stimuli * n_features
    squares, n_blocks = 3 if 4 * components <= m else 5, 2
    block = min(BLOCK_BYTES, 8 * COLUMNS * n_stimuli)
    held = {"matrices": 8.0 * squares * m * m}
    if m > MOST_SQUARE:
        held, block, n_blocks = {"bases": float(krylov.BASIS_BYTES)}, krylov.BLOCK_BYTES, 6
    elif n_features < n_stimuli:
        block, n_blocks = covariance.BLOCK_BYTES, 5
    elif scale:
        held["matrices"] += max(0.0, 1e9 - 8.0 * m * m)
        n_blocks = 6
    return {**held, "blocks": n_blocks * min(block, everything), "scores": 8.0 * 3 * n_stimuli * components}


def compress_flops(n_stimuli: int, n_features: int, components: int, n_subsets: float, *, scale: bool = False) -> float:
    """Estimate the operations of principal components of one layer, fitted to so many training sets.

    ``n_subsets``: in units of training sets of all stimuli; a smaller one counts by the cube of its share. They are
    operations of small matrices, which take about twice as long as those of the large products do.
    """
    m = min(n_stimuli, n_features)
    reading, products = float(READING) * n_stimuli * n_features, n_stimuli * m
    if m > MOST_SQUARE:
        return n_subsets * _PASSES * (reading + 2.0 * n_stimuli * n_features * components)
    solving = (4.0 * m**3 / 3 + _SOLVING * m) * n_subsets
    if n_features < n_stimuli:
        return (3 * reading + products * (m + components)) * n_subsets + solving
    # A product of a matrix with itself is symmetric: half of it is computed.
    return (reading + 0.5 * products * n_features) * (n_subsets if scale else 1) + solving


def pca_cost(n_stimuli: int, n_features: int, components: int, n_subsets: float, *, scale: bool = False) -> Cost:
    """State what principal components of one layer cost, fitted to so many training sets, with the scores on disk."""
    return Cost(
        operations=compress_flops(n_stimuli, n_features, components, n_subsets, scale=scale),
        python=_SHARDS * n_subsets if n_features < n_stimuli else 0.0,
        memory=sum(compress_bytes(n_stimuli, n_features, components, scale=scale).values()),
        disk=scores_bytes(n_stimuli, components, n_subsets),
    )


def scores_bytes(n_stimuli: int, components: int, n_subsets: float) -> float:
    """State the size of the components of all stimuli, fitted to so many training sets."""
    return 8.0 * n_stimuli * components * n_subsets
