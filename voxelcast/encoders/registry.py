"""The encoders by name."""

from __future__ import annotations

from fnmatch import fnmatchcase

from voxelcast.core.checks import check_known
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.canonical import CCA, PLSCanonical
from voxelcast.encoders.elastic_net import ElasticNet, Lasso
from voxelcast.encoders.ols import OLS
from voxelcast.encoders.omp import OMP
from voxelcast.encoders.pls import PLS
from voxelcast.encoders.ridge import Ridge

ENCODERS: dict[str, type[Encoder]] = {
    encoder.name: encoder for encoder in (CCA, ElasticNet, Lasso, OLS, OMP, PLS, PLSCanonical, Ridge)
}


def list_encoders(pattern: str = "*") -> tuple[str, ...]:
    """List the names of the encoders that match a shell pattern, sorted."""
    return tuple(sorted(name for name in ENCODERS if fnmatchcase(name, pattern)))


def get_encoder(name: str) -> Encoder:
    """Return the encoder of that name.

    Raises
    ------
    UnknownNameError
        If there is none; the message offers the nearest.
    """
    check_known("encoder", name, tuple(sorted(ENCODERS)))
    return ENCODERS[name]()
