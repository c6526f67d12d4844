"""What turns many features into few components: the contract, and the compressions there are, by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal, Self

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite, check_option, check_shape
from voxelcast.core.cost import Cost
from voxelcast.core.errors import DataError, OptionError
from voxelcast.core.registry import Registry
from voxelcast.features.cost import pca_cost, scores_bytes

Sees = Literal["features", "coordinates", "distances"]


@dataclass
class Compressor(ABC):
    """Turns features into components: fitted to training stimuli, applied to any.

    ``seed`` is that of whatever is left to chance; the same features, settings and seed give the same components.
    """

    name: ClassVar[str]
    nested: ClassVar[bool] = False
    """Whether the first k of many components are those of a fit that asks for k."""
    learns: ClassVar[bool] = True
    """Whether anything is estimated from the training stimuli, beyond the number of their features."""
    chance: ClassVar[bool] = True
    """Whether the seed changes anything."""
    unsaved: ClassVar[str] = "it has no axes that could be saved"
    """Why a fitted one is not saved with models; empty where it is."""
    sees: ClassVar[Sees] = "features"
    """What the fit depends on: features, the training stimuli's coordinates in the space that they span, or nothing but
    distances. See :func:`voxelcast.features.pca.coordinates`."""

    components: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.components < 1:
            raise OptionError(f"compress.components must be at least 1; got {self.components}")

    def fit(self, X: FloatArray) -> Self:
        """Fit to training stimuli, X of shape (n_train, n_features)."""
        self.fit_transform(X)
        return self

    def fit_transform(self, X: FloatArray) -> FloatArray:
        """Fit to training stimuli, X of shape (n_train, n_features), and give their components, (n_train, components).

        Raises OptionError if there are too few stimuli or features for so many components; DataError if a value is not
        finite, or there is nothing to fit.
        """
        _check(X, None)
        if len(X) < 2:
            raise DataError(f"a compression needs at least 2 training stimuli; got {len(X)}")
        most, what = self.most(*X.shape)
        if self.components > most:
            raise OptionError(
                f"compress.components must be at most {most}, {what}; got {self.components}; lower it, or set "
                "compress.fewer=allow"
            )
        self._n_features = X.shape[1]
        return self._fit(X)

    def transform(self, X: FloatArray) -> FloatArray:
        """Give the components of any stimuli by what was fitted, each by its own features alone (but for UMAP).

        Of X of shape (n_stimuli, n_features) they have the shape (n_stimuli, components). Raises ShapeError if there is
        another number of features than in the fit.
        """
        _check(X, self._n_features)
        return self._transform(X)

    @property
    def explained_variance(self) -> float | None:
        """Share of the training features' variance that the components keep; None where that is not defined."""
        return None

    def cost(self, n_stimuli: int, n_features: int, n_subsets: float, *, scale: bool = False) -> Cost:
        """State what it costs to fit so many training sets of a layer and to give all stimuli's components.

        Here of what needs the stimuli's coordinates, all principal components, and then `work`.
        """
        rank = min(n_stimuli, n_features)
        coordinates = pca_cost(n_stimuli, n_features, rank, n_subsets, scale=scale)
        disk = scores_bytes(n_stimuli, self.components, n_subsets)
        return replace(coordinates, disk=disk) + self.work(n_stimuli, rank) * n_subsets

    def work(self, n_stimuli: int, n_features: int) -> Cost:
        """State what fitting and applying it to features in memory costs."""
        return Cost(memory=8.0 * n_stimuli * self.components)

    def most(self, n_train: int, n_features: int) -> tuple[int, str]:
        """Return the most components that so many stimuli and features allow, and what that number is."""
        return min(n_train - 1, n_features), f"what {n_train} training stimuli of {n_features} features allow"

    @abstractmethod
    def _fit(self, X: FloatArray) -> FloatArray:
        """Fit to checked features and give their components."""

    @abstractmethod
    def _transform(self, X: FloatArray) -> FloatArray:
        """Give the components of checked features."""


def _check(X: FloatArray, n_features: int | None) -> None:
    check_shape("features", X, ("n_stimuli", "n_features"), (None, n_features))
    check_finite("features", X, "extract them again")


_MODULES = [f"voxelcast.features.{module}" for module in ("linear", "manifold", "autoencoder")]
COMPRESSORS: Registry[type[Compressor]] = Registry("compression", "voxelcast.compressions", _MODULES)
list_compressors = COMPRESSORS.names


def make_compressor(
    name: str, components: int, *, seed: int = 0, options: Mapping[str, int | float] | None = None
) -> Compressor:
    """Make a compression of :func:`list_compressors`, not fitted yet.

    ``options`` are further parameters of that compression, e.g. ``{"n_neighbors": 30}`` of ``"umap"``. Raises
    UnknownNameError if there is none of that name; OptionError if an option does not exist, or is no number, or is out
    of range.
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
