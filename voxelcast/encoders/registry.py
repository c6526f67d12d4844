"""The encoders by name."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from voxelcast.core.checks import check_known
from voxelcast.core.errors import OptionError
from voxelcast.encoders.automl import AutoML
from voxelcast.encoders.autosklearn import AutoSklearn
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.boosted_trees import BoostedTrees
from voxelcast.encoders.budget import AutoMLSettings
from voxelcast.encoders.canonical import CCA, PLSCanonical
from voxelcast.encoders.elastic_net import ElasticNet, Lasso
from voxelcast.encoders.kernel_ridge import LinearKernelRidge, PolynomialKernelRidge, RBFKernelRidge
from voxelcast.encoders.mlp import MLP
from voxelcast.encoders.ols import OLS
from voxelcast.encoders.omp import OMP
from voxelcast.encoders.pls import PLS
from voxelcast.encoders.ridge import Ridge
from voxelcast.encoders.ridge_per_voxel import RidgePerVoxel
from voxelcast.encoders.sample import AnyEncoder, SampleEncoder

ENCODERS: dict[str, type[Encoder]] = {
    encoder.name: encoder for encoder in (CCA, ElasticNet, Lasso, OLS, OMP, PLS, PLSCanonical, Ridge, RidgePerVoxel)
}
"""Those with a path: every setting follows from the training moments."""

SAMPLE_ENCODERS: dict[str, type[SampleEncoder]] = {
    encoder.name: encoder for encoder in (MLP, BoostedTrees, LinearKernelRidge, PolynomialKernelRidge, RBFKernelRidge)
}
"""Those that are fitted to the samples."""

AUTOML_ENCODERS: dict[str, type[AutoML] | type[AutoSklearn]] = {
    AutoML.name: AutoML,
    AutoSklearn.name: AutoSklearn,
}
"""Those that search by themselves for as long as their budget says."""


def list_encoders(pattern: str = "*") -> tuple[str, ...]:
    """List the names of the encoders that match a shell pattern, sorted.

    Examples
    --------
    >>> import voxelcast as vc
    >>> vc.list_encoders("ridge*")
    ('ridge', 'ridge_per_voxel')
    """
    return tuple(sorted(name for name in (*ENCODERS, *SAMPLE_ENCODERS, *AUTOML_ENCODERS) if fnmatchcase(name, pattern)))


def get_encoder(name: str, seed: int = 0, automl: AutoMLSettings = AutoMLSettings()) -> AnyEncoder:
    """Return the encoder of that name.

    ``seed`` is for the encoders that leave something to chance, ``automl`` for automatic machine learning.

    Raises
    ------
    UnknownNameError
        If there is none; the message offers the nearest.
    """
    check_known("encoder", name, list_encoders())
    if name in AUTOML_ENCODERS:
        return AUTOML_ENCODERS[name](seed, automl)
    return ENCODERS[name]() if name in ENCODERS else SAMPLE_ENCODERS[name](seed)


def can_be_exact(name: str) -> bool:
    """Say whether an encoder's settings can all be tried, which ``method: exact`` needs."""
    return len(get_encoder(name).settings(100, 10, 10)) > 0


def check_ready(names: Sequence[str]) -> None:
    """Raise MissingPackageError if an encoder of those names needs something that is not installed."""
    for name in names:
        encoder = get_encoder(name)
        if isinstance(encoder, SampleEncoder):
            encoder.check_ready()


def check_exact(names: Sequence[str], method: str) -> None:
    """Raise OptionError if the search method is exact and an encoder has too many hyper-parameters for that."""
    unlisted = [name for name in names if not can_be_exact(name)]
    if method == "exact" and unlisted:
        raise OptionError(
            f"search.method: exact tries every setting, which {unlisted[0]} has too many of; set search.method=bayes"
        )
