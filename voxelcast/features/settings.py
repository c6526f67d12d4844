"""What a user says of the compression of features."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import BeforeValidator

from voxelcast.core.checks import check_option
from voxelcast.core.cost import Cost
from voxelcast.core.errors import OptionError
from voxelcast.core.settings import settings
from voxelcast.features.compressors import COMPRESSORS, Compressor, list_compressors, make_compressor
from voxelcast.features.pca import Components, Fewer, check_components


@settings
class CompressionSettings:
    """How features become few components, for each training set alike.

    Parameters
    ----------
    method : str
        One of `voxelcast.features.compressors.list_compressors`, or ``"none"``.
    components : int or "max"
        How many; ``"max"``, of ``"pca"`` only: the rank.
    fit : {"folds", "once"}
        Fit the compression again for the training part of each fold, or once on all training stimuli, as in 2021, which
        lets the features (not the responses) of held-out stimuli into the compression.
    scale : bool
        Divide each feature by its training standard deviation first.
    whiten : bool
        Centre each component on its training mean and divide it by its training standard deviation: components of
        little variance then count as much as the first.
    scale_apart : bool
        Where ``scale`` and ``whiten`` apply, scale the stimuli outside the training set by their own mean and standard
        deviation, as 2021 and the challenge's devkit did. It needs ``fit="once"``.
    fewer : {"error", "allow"}
        What happens where a training set allows fewer components.
    options : dict
        Further parameters of the method, e.g. ``n_neighbors`` of ``"umap"``.
    """

    method: str = "pca"
    components: Annotated[Components, BeforeValidator(check_components)] = 50
    fit: Literal["folds", "once"] = "folds"
    scale: bool = False
    whiten: bool = False
    scale_apart: bool = False
    fewer: Fewer = "error"
    options: dict[str, int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_option("compress.method", self.method, ("none", *list_compressors()))
        check_components(self.components)
        if self.components == "max" and self.method not in ("pca", "none"):
            raise OptionError(f"compress.components=max goes with method pca alone; got method {self.method}")
        if self.scale_apart and (self.fit != "once" or not (self.scale or self.whiten)):
            raise OptionError("compress.scale_apart needs fit=once, and scale or whiten; set scale_apart=false")
        if self.method != "none":
            self.compressor(1)
        elif self.options:
            raise OptionError("compress.options must be empty for method none")

    def compressor(self, components: int, seed: int = 0) -> Compressor:
        """Make the method's estimator."""
        return make_compressor(self.method, components, seed=seed, options=self.options)

    def kept(self, n_train: int, n_features: int) -> int:
        """Return how many components so many training stimuli and features are reduced to, at most."""
        most = n_train if self.method == "none" or self.components == "max" else self.components
        return min(n_features, most)

    def cost(self, n_stimuli: int, n_train: int, n_features: int, n_subsets: float) -> Cost:
        """State what compressing one layer costs, fitted to so many training sets of at most ``n_train`` stimuli."""
        if self.method == "none":
            plain = 8.0 * n_stimuli * n_features
            return Cost(memory=2 * plain, disk=plain * n_subsets)
        compressor = self.compressor(self.kept(n_train, n_features))
        return compressor.cost(n_stimuli, n_features, n_subsets, scale=self.scale)

    @property
    def learns(self) -> bool:
        """Whether anything is estimated from training stimuli, so that folds need a fit of their own."""
        return self.scale or self.whiten or (self.method != "none" and COMPRESSORS.get(self.method).learns)

    @property
    def chance(self) -> bool:
        """Whether a seed changes anything."""
        return self.method != "none" and COMPRESSORS.get(self.method).chance

    @property
    def nested(self) -> bool:
        """Whether the first k of the components are those of a fit that asks for k."""
        return self.method != "none" and COMPRESSORS.get(self.method).nested
