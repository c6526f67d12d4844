"""What an encoder is: a family of encoding models Y = X B + b, and how one of them is fitted.

The encoders of this version are linear and have a *path*: the training moments

    S = X'X  (p, p),   C = X'Y  (p, q)      X, Y centred on the training means

give the models of all settings (number of components, penalty) in one go. There are two kinds of path. Where one
factorisation serves all voxels, it is a `LinearPath`

    B_s = R diag(d_s) G,      R (p, r) directions,  G (r, q) loadings,  d_s (r,) the filter of setting s:

PLS regression with k components keeps the first k latent variables (d_s = 1 for the first k, else 0); ridge with
penalty a shrinks each principal direction (d_s = 1 / (l_j + a)). Where every voxel has features of its own (orthogonal
matching pursuit, elastic net), it is a `VoxelPath`, solved for some voxels at a time so that its memory is bounded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.encoders.checks import check_features, checked_samples, is_number

Params = Mapping[str, float | int]

_BLOCK_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Moments:
    """Sufficient statistics of the training part of a fold for every linear encoder.

    Parameters
    ----------
    n : int
        Number of training stimuli.
    x_mean : ndarray of shape (p,)
    y_mean : ndarray of shape (q,)
    S : ndarray of shape (p, p)
        X'X of the centred features.
    C : ndarray of shape (p, q)
        X'Y of the centred features and responses.
    responses : callable
        Returns the centred responses Y, ndarray of shape (n, q), for the encoders that need them as well (canonical
        PLS, CCA). It is a function because the others are not to pay for the copy.
    response_squares : callable
        Returns Y'Y, ndarray of shape (q, q); likewise.
    y_squares : ndarray of shape (q,)
        Sum of squares of each voxel's centred responses.
    """

    n: int
    x_mean: FloatArray
    y_mean: FloatArray
    S: FloatArray
    C: FloatArray
    responses: Callable[[], FloatArray]
    response_squares: Callable[[], FloatArray]
    y_squares: FloatArray

    @cached_property
    def eigen(self) -> tuple[FloatArray, FloatArray]:
        """Eigenvalues of S, ascending and not negative, and its eigenvectors, of shape (p,) and (p, p)."""
        values, vectors = np.linalg.eigh(self.S)
        return np.maximum(values, 0.0), vectors


def moments(X: FloatArray, Y: FloatArray) -> Moments:
    """Compute the moments of training data, in float64 whatever the type of the data.

    Squared, single precision would leave some seven digits of S, and rank-deficient features would seem to have full
    rank.

    Parameters
    ----------
    X : ndarray of shape (n_samples, p)
    Y : ndarray of shape (n_samples, q)

    Raises
    ------
    ShapeError, DataError
        See `voxelcast.encoders.checks.checked_samples`.
    """
    X, Y = checked_samples(X, Y)
    x_mean, y_mean = X.mean(axis=0), Y.mean(axis=0)
    Xc, Yc = X - x_mean, Y - y_mean
    squares = np.einsum("ij,ij->j", Yc, Yc)
    return Moments(X.shape[0], x_mean, y_mean, Xc.T @ Xc, Xc.T @ Yc, lambda: Yc, lambda: Yc.T @ Yc, squares)


class SolutionPath(ABC):
    """The models of all settings, fitted to one training part."""

    settings: tuple[Params, ...]

    @abstractmethod
    def coefficients(self, index: int) -> FloatArray:
        """Return B of setting ``index``, ndarray of shape (p, q)."""


@dataclass(frozen=True)
class LinearPath(SolutionPath):
    """The models of all settings, sharing directions and loadings: B_s = directions @ diag(filters[s]) @ loadings.

    Parameters
    ----------
    settings : tuple of Params
        One per row of ``filters``, simplest model first.
    directions : ndarray of shape (p, r)
    filters : ndarray of shape (n_settings, r)
    loadings : ndarray of shape (r, q)
    """

    settings: tuple[Params, ...]
    directions: FloatArray
    filters: FloatArray
    loadings: FloatArray

    def coefficients(self, index: int) -> FloatArray:
        """Return B of setting ``index``, ndarray of shape (p, q)."""
        coefficients: FloatArray = (self.directions * self.filters[index]) @ self.loadings
        return coefficients


@dataclass(frozen=True)
class ShrinkagePath(LinearPath):
    """A linear path whose filters are those of ridge regression, d_s = 1 / (eigenvalues + penalties[s]).

    That they have this form lets all penalties be scored by a few small products (`voxelcast.search.path_scores`).

    Parameters
    ----------
    eigenvalues : ndarray of shape (r,)
        Of the directions; not negative, ascending.
    penalties : ndarray of shape (n_settings,)
    """

    eigenvalues: FloatArray
    penalties: FloatArray


@dataclass(frozen=True)
class VoxelPath(SolutionPath):
    """The models of all settings, where nothing but S is shared between voxels.

    Parameters
    ----------
    settings : tuple of Params
        Simplest model first.
    shape : tuple of int
        (p, q).
    solve : callable
        Takes a slice of m voxels and returns the coefficients of every setting for them, ndarray of shape
        (n_settings, m, p).
    """

    settings: tuple[Params, ...]
    shape: tuple[int, int]
    solve: Callable[[slice], FloatArray]

    def blocks(self) -> Iterator[tuple[slice, FloatArray]]:
        """Solve some voxels at a time.

        Yields
        ------
        voxels : slice
        coefficients : ndarray of shape (n_settings, m, p)
        """
        p, q = self.shape
        size = max(1, _BLOCK_BYTES // (8 * max(len(self.settings), 1) * p))
        for start in range(0, q, size):
            voxels = slice(start, min(start + size, q))
            yield voxels, self.solve(voxels)

    def coefficients(self, index: int) -> FloatArray:
        """Return B of setting ``index``, ndarray of shape (p, q); solves the whole path."""
        B: FloatArray = np.empty(self.shape)
        for voxels, found in self.blocks():
            B[:, voxels] = found[index].T
        return B


@dataclass(frozen=True)
class FittedEncoder:
    """A fitted linear encoding model: prediction = X @ coefficients + intercept.

    Parameters
    ----------
    setting : Params
    coefficients : ndarray of shape (p, q)
    intercept : ndarray of shape (q,)
    """

    setting: Params
    coefficients: FloatArray
    intercept: FloatArray

    def predict(self, X: FloatArray) -> FloatArray:
        """Predict responses, ndarray of shape (n_samples, q), from features of shape (n_samples, p)."""
        check_features(X, len(self.coefficients))
        prediction: FloatArray = X @ self.coefficients + self.intercept
        return prediction

    def arrays(self) -> dict[str, FloatArray]:
        """Return the arrays that make the model: ``coefficients`` and ``intercept``."""
        return {"coefficients": self.coefficients, "intercept": self.intercept}


@dataclass(frozen=True)
class Distribution:
    """A hyper-parameter's range for a search: integers or floats, on a linear or logarithmic scale, ends included."""

    low: float
    high: float
    integer: bool = False
    log: bool = False


class Encoder(ABC):
    """A family of encoding models with hyper-parameters."""

    name: ClassVar[str]

    @abstractmethod
    def space(self, n_train: int, n_features: int, n_voxels: int) -> dict[str, Distribution]:
        """Return the ranges of the hyper-parameters, as wide as the data allow (no more components than the rank)."""

    @abstractmethod
    def settings(self, n_train: int, n_features: int, n_voxels: int) -> tuple[Params, ...]:
        """List the settings of the exhaustive search, simplest model first.

        ``n_train`` is the size of the smallest training set in which they are to be tried.
        """

    @abstractmethod
    def path(self, moments: Moments, settings: Sequence[Params]) -> SolutionPath:
        """Solve every setting from the training moments.

        Raises
        ------
        OptionError
            If a setting lies outside what the moments allow.
        """

    def refined(self, settings: Sequence[Params], scores: FloatArray) -> tuple[Params, ...]:
        """Return settings between those of the list that may score better than any of them; none by default.

        The exhaustive search asks again with these among ``settings``, until there is none.

        Parameters
        ----------
        settings : sequence of Params
            Those tried.
        scores : ndarray of shape (n_settings,)
            What they are compared by; NaN where there is none.
        """
        return ()

    def order(self, setting: Params) -> tuple[float, ...]:
        """Return a key that sorts settings, refined ones too, as `settings` does: the simplest first.

        The default is for counts, of which fewer are simpler.
        """
        return tuple(setting.values())

    def fit(self, X: FloatArray, Y: FloatArray, setting: Params) -> FittedEncoder:
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
            If the setting lies outside what the data allow.
        """
        stats = moments(X, Y)
        coefficients = self.path(stats, [setting]).coefficients(0)
        return FittedEncoder(setting, coefficients, stats.y_mean - stats.x_mean @ coefficients)


def checked_count(encoder: str, setting: Params, name: str, most: int) -> int:
    """Return the one hyper-parameter of a setting, a whole number in 1 to ``most``.

    Raises
    ------
    OptionError
        If it is anything else; ``most`` is said to be what the training data allow.
    """
    value = setting.get(name)
    if set(setting) != {name} or not is_number(value) or value != int(value) or not 1 <= value <= most:
        raise OptionError(
            f"{encoder} needs {name}, a whole number in 1 to {most} (the rank that the training data can have); "
            f"got {dict(setting)}; ask for fewer"
        )
    return int(value)
