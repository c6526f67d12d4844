"""The compressions there are, by name; each is registered in its own module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from voxelcast.core.checks import check_option
from voxelcast.core.errors import OptionError
from voxelcast.core.registry import Registry
from voxelcast.features.compressor import Compressor

_ROOM = "voxelcast.features."
COMPRESSORS: Registry[type[Compressor]] = Registry(
    "compression",
    "voxelcast.compressions",
    [_ROOM + name for name in ("principal_components", "random_projection", "umap_embedding", "mds", "autoencoder")],
)
list_compressors = COMPRESSORS.names


def make_compressor(
    name: str, components: int, *, seed: int = 0, options: Mapping[str, int | float] | None = None
) -> Compressor:
    """Make a compression of :func:`list_compressors`, not fitted yet.

    ``options`` are further parameters of that compression, e.g. ``{"n_neighbors": 30}`` of ``"umap"``.

    Raises
    ------
    UnknownNameError
        If there is none of that name.
    OptionError
        If an option does not exist, or is no number, or is out of range.
    """
    made = COMPRESSORS.get(name)
    allowed = {field.name: field.type for field in fields(made) if field.name not in ("components", "seed")}
    for option, value in (options or {}).items():
        check_option(f"an option of compress.method={name}", option, sorted(allowed) or ["none"])
        whole = allowed[option] == "int"
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            kind = "a whole number" if whole else "a number"
            raise OptionError(f"compress.options.{option} must be {kind}; got {value!r}")
    return made(components, seed=seed, **dict(options or {}))
