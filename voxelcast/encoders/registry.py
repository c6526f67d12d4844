"""The encoders by name."""

from __future__ import annotations

from fnmatch import fnmatchcase

from voxelcast.core.checks import check_known
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.boosted_trees import BoostedTrees
from voxelcast.encoders.canonical import CCA, PLSCanonical
from voxelcast.encoders.elastic_net import ElasticNet, Lasso
from voxelcast.encoders.kernel_ridge import LinearKernelRidge, PolynomialKernelRidge, RBFKernelRidge
from voxelcast.encoders.mlp import MLP
from voxelcast.encoders.ols import OLS
from voxelcast.encoders.omp import OMP
from voxelcast.encoders.pls import PLS
from voxelcast.encoders.ridge import Ridge
from voxelcast.encoders.sample import AnyEncoder, SampleEncoder

ENCODERS: dict[str, type[Encoder]] = {
    encoder.name: encoder for encoder in (CCA, ElasticNet, Lasso, OLS, OMP, PLS, PLSCanonical, Ridge)
}

"""Those with a path: every setting follows from the training moments."""

SAMPLE_ENCODERS: dict[str, type[SampleEncoder]] = {
    encoder.name: encoder for encoder in (MLP, BoostedTrees, LinearKernelRidge, PolynomialKernelRidge, RBFKernelRidge)
}
"""Those that are fitted to the samples."""


def list_encoders(pattern: str = "*") -> tuple[str, ...]:
    """List the names of the encoders that match a shell pattern, sorted."""
    return tuple(sorted(name for name in (*ENCODERS, *SAMPLE_ENCODERS) if fnmatchcase(name, pattern)))


def get_encoder(name: str, seed: int = 0) -> AnyEncoder:
    """Return the encoder of that name.

    ``seed`` is for the encoders that leave something to chance.

    Raises
    ------
    UnknownNameError
        If there is none; the message offers the nearest.
    """
    check_known("encoder", name, list_encoders())
    return ENCODERS[name]() if name in ENCODERS else SAMPLE_ENCODERS[name](seed)


def can_be_exact(name: str) -> bool:
    """Say whether an encoder's settings can all be tried, which ``method: exact`` needs."""
    return len(get_encoder(name).settings(100, 10, 10)) > 0
