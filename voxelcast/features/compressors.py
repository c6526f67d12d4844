"""The compressions there are, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from fnmatch import fnmatchcase
from typing import Any

from voxelcast.core.checks import check_known, check_option
from voxelcast.core.errors import OptionError
from voxelcast.features.autoencoder import Autoencoder
from voxelcast.features.compressor import Compressor
from voxelcast.features.mds import MetricMDS
from voxelcast.features.principal_components import PrincipalComponents
from voxelcast.features.random_projection import RandomProjection
from voxelcast.features.umap_embedding import UMAPEmbedding

COMPRESSORS: dict[str, type[Compressor]] = {
    compressor.name: compressor
    for compressor in (PrincipalComponents, RandomProjection, UMAPEmbedding, MetricMDS, Autoencoder)
}


def list_compressors(pattern: str = "*") -> tuple[str, ...]:
    """List the names of the compressions that match a shell pattern, sorted."""
    return tuple(sorted(name for name in COMPRESSORS if fnmatchcase(name, pattern)))


def make_compressor(
    name: str, components: int, *, seed: int = 0, options: Mapping[str, Any] | None = None
) -> Compressor:
    """Make a compression, not fitted yet.

    Parameters
    ----------
    name : str
        One of :func:`list_compressors`.
    components : int
    seed : int
    options : mapping or None
        Further parameters of that compression, e.g. ``{"n_neighbors": 30}`` of ``"umap"``.

    Raises
    ------
    UnknownNameError
        If there is none of that name.
    OptionError
        If an option does not exist, or is no number, or is out of range.
    """
    check_known("compression", name, list_compressors())
    made = COMPRESSORS[name]
    allowed = {field.name: field.type for field in fields(made) if field.name not in ("components", "seed")}
    for option, value in (options or {}).items():
        check_option(f"an option of compress.method={name}", option, sorted(allowed) or ["none"])
        whole = allowed[option] == "int"
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            kind = "a whole number" if whole else "a number"
            raise OptionError(f"compress.options.{option} must be {kind}; got {value!r}")
    return made(components, seed=seed, **dict(options or {}))
