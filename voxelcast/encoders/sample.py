"""What an encoder without a path is: it takes the samples of a training part and gives a fitted model.

Its model need not be linear, so nothing can be said of it from the moments X'X and X'Y: each setting is fitted to the
training stimuli themselves and judged by its predictions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, Protocol

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.encoders.base import Distribution, Encoder, Params
from voxelcast.encoders.checks import is_number


class FittedModel(Protocol):
    """A fitted encoding model of any kind."""

    @property
    def setting(self) -> Params:
        """Hyper-parameters that it was fitted with."""

    def predict(self, X: FloatArray) -> FloatArray:
        """Predict responses, ndarray of shape (n_samples, q), from features of shape (n_samples, p)."""

    def arrays(self) -> dict[str, FloatArray]:
        """Return the arrays from which the model can be rebuilt, by name; empty if it has no form as plain arrays."""


class SampleEncoder(ABC):
    """A family of encoding models that is fitted to samples: features X and responses Y of a training part."""

    name: ClassVar[str]

    def __init__(self, seed: int = 0) -> None:
        """Take the seed of everything that is left to chance: the same data, setting and seed give the same model."""
        self.seed = seed

    @abstractmethod
    def space(self, n_train: int, n_features: int, n_voxels: int) -> dict[str, Distribution]:
        """Return the ranges of the hyper-parameters; none where the encoder chooses them itself."""

    def settings(self, n_train: int, n_features: int, n_voxels: int) -> tuple[Params, ...]:
        """List the settings of the exhaustive search, simplest model first; empty where there is none.

        An encoder that chooses its hyper-parameters itself has one setting, ``{}``.
        """
        return () if self.space(n_train, n_features, n_voxels) else ({},)

    def order(self, setting: Params) -> tuple[float, ...]:
        """Return a key that sorts settings from the simplest model to the most complex; by default all are alike."""
        return ()

    @abstractmethod
    def fit(self, X: FloatArray, Y: FloatArray, setting: Params) -> FittedModel:
        """Fit one model.

        Parameters
        ----------
        X : ndarray of shape (n_samples, p)
        Y : ndarray of shape (n_samples, q)
        setting : Params

        Raises
        ------
        ShapeError, DataError
            See `voxelcast.encoders.checks.checked_samples`.
        OptionError
            If the setting is not one of ``space``.
        """

    def predict_all(
        self, X: FloatArray, Y: FloatArray, settings: Sequence[Params], tests: Sequence[FloatArray]
    ) -> Iterator[list[FloatArray]]:
        """Fit each setting and predict each array of features in ``tests``; an encoder may share work between settings.

        Yields
        ------
        predictions : list of ndarray of shape (n_samples, q)
            Of one setting, in the order of ``settings``.
        """
        for setting in settings:
            model = self.fit(X, Y, setting)
            yield [model.predict(test) for test in tests]

    def check_ready(self) -> None:
        """Raise MissingPackageError if something that the encoder needs is not installed."""
        return

    def time_estimate(self, n_train: int, n_features: int, n_voxels: int) -> float:
        """Guess the seconds that one fit takes on one core; 0 where it is short."""
        return 0.0


AnyEncoder = Encoder | SampleEncoder


def check_setting(encoder: str, setting: Params, space: dict[str, Distribution]) -> None:
    """Raise OptionError unless a setting has every hyper-parameter of ``space`` and no other, each inside its range."""
    for name, bounds in space.items():
        value = setting.get(name)
        if (
            not is_number(value)
            or not bounds.low * (1 - 1e-12) <= value <= bounds.high * (1 + 1e-12)
            or (bounds.integer and value != int(value))
        ):
            kind = "a whole number" if bounds.integer else "a number"
            raise OptionError(f"{encoder} needs {name}, {kind} in {bounds.low:g} to {bounds.high:g}; got {value!r}")
    extra = sorted(set(setting) - set(space))
    if extra:
        raise OptionError(f"{encoder} has no setting {extra[0]!r}; allowed: {', '.join(space) or 'none'}")
