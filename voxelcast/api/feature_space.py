"""Features of stimuli and how they are compressed inside the folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from voxelcast.api.labelled import Rows, feature_rows
from voxelcast.core.arrays import IntArray
from voxelcast.core.errors import OptionError
from voxelcast.core.seeds import derive_seed
from voxelcast.experiment.steps.compress import CompressedSpace, excluded_folds
from voxelcast.features.compress import compress_folds
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.features.settings import CompressionSettings
from voxelcast.search.base import FeatureSpace as SearchSpace
from voxelcast.search.joined import ALL_LAYERS, JOINED, JoinedSpace


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """Named features of stimuli, and how they become few components.

    The compression is fitted again to the training part of every fold in which the features are evaluated.

    Parameters
    ----------
    features : array-like, DataFrame or DataArray of shape (n_stimuli, n_features)
        A DataArray has a dimension ``stimulus``, whose coordinate are the ids of the stimuli; a DataFrame has them as
        its index.
    name : str
        In results; empty: the layer in ``features.attrs``, or the key under which it is given.
    compression : int, CompressionSettings or None
        A number n: the first n principal components, or as many as the stimuli of a fold allow. None: the features
        themselves.

    Raises
    ------
    OptionError
        If ``compression`` is none of these.
    ShapeError
        If features have the wrong number of dimensions.

    Examples
    --------
    >>> import numpy as np
    >>> import voxelcast as vc
    >>> features = np.random.default_rng(0).standard_normal((40, 200))
    >>> space = vc.FeatureSpace(features, "words", compression=10)
    >>> space.name, space.settings.components
    ('words', 10)
    """

    features: Any
    name: str = ""
    compression: int | CompressionSettings | None = 50

    def __post_init__(self) -> None:
        allowed = self.compression is None or isinstance(self.compression, int | CompressionSettings)
        if not allowed or isinstance(self.compression, bool):
            raise OptionError(
                f"compression must be a number of components, CompressionSettings or None; got {self.compression!r}"
            )
        self.rows()

    @property
    def settings(self) -> CompressionSettings:
        """How the features are compressed."""
        if isinstance(self.compression, CompressionSettings):
            return self.compression
        if self.compression is None:
            return CompressionSettings(method="none")
        return CompressionSettings(components=self.compression, fewer="allow")

    def rows(self) -> Rows:
        """Return the features with the ids of their stimuli."""
        return feature_rows(self.features, f"features {self.name}".rstrip())


def feature_spaces(given: Any) -> list[FeatureSpace]:
    """Make feature spaces of whatever features are given: one array, or several in a mapping or list."""
    if isinstance(given, Mapping):
        named = [(str(name), member) for name, member in given.items()]
    elif isinstance(given, list | tuple):
        named = [("", member) for member in given]
    else:
        named = [("", given)]
    if not named:
        raise OptionError("features must hold at least one array; got none")
    spaces = [
        replace(member, name=member.name or name) if isinstance(member, FeatureSpace) else FeatureSpace(member, name)
        for name, member in named
    ]
    labels = [space_label(space) for space in spaces]
    if len(set(labels)) == len(labels):
        return spaces
    if any(space.name or space.rows().attrs.get("layer") for space in spaces):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise OptionError(f"features must have different names; got {' '.join(twice)} several times; rename one")
    return [replace(space, name=f"features {number + 1}") for number, space in enumerate(spaces)]


def space_label(space: FeatureSpace) -> tuple[str, str]:
    """Return what features are called in results: network and layer."""
    attrs = space.rows().attrs
    return str(attrs.get("network", "features")), space.name or str(attrs.get("layer", "features"))


def compress_spaces(
    spaces: Sequence[FeatureSpace], responses: Rows, fold_ids: IntArray, *, nested: bool = True, seed: int = 0
) -> list[CompressedSpace]:
    """Compress features as the folds need them, by the functions and with the seed of an experiment.

    The stimuli of ``responses`` are used, in their order; ``nested``: whether two folds are left out, too.
    """
    compressed = []
    for space in spaces:
        rows, settings = space.rows(), space.settings
        refit = settings.fit == "folds" and settings.learns
        excluded = excluded_folds(int(fold_ids.max()) + 1, nested=nested, refit=refit)
        network, layer = space_label(space)
        found = compress_folds(
            FeatureMatrix([rows.in_order_of(responses)]),
            [np.flatnonzero(~np.isin(fold_ids, left_out)) for left_out in excluded],
            settings,
            seed=derive_seed(seed, "compress"),
            axis=rows.attrs.get("pool") == "pc1",
            layer=f"{network} {layer}",
        )
        scores = {left_out: one.scores for left_out, one in zip(excluded, found, strict=True)}
        compressed.append(CompressedSpace(network, layer, refit, scores.__getitem__))
    return compressed


def join_spaces(spaces: Sequence[SearchSpace], fold_ids: IntArray) -> CompressedSpace:
    """Join features as one space, fitted to each training part."""
    joined = JoinedSpace(tuple(spaces), fold_ids)
    excluded = excluded_folds(int(fold_ids.max()) + 1, nested=True, refit=True)
    scores = {left_out: joined.scores(left_out) for left_out in excluded}
    return CompressedSpace(JOINED, ALL_LAYERS, True, scores.__getitem__)
