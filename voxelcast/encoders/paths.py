"""Solution paths: the linear models of many hyper-parameters, fitted to one training part in one go.

Where one factorisation serves all voxels, the path is a `LinearPath`

    B_s = R diag(d_s) G,      R (p, r) directions,  G (r, q) loadings,  d_s (r,) the filter of the parameters s:

PLS regression with k components keeps the first k latent variables (d_s = 1 for the first k, else 0); ridge with
penalty a shrinks each principal direction (d_s = 1 / (l_j + a)). Where every voxel has features of its own (orthogonal
matching pursuit, elastic net), it is a `VoxelPath`, solved for some voxels at a time so that its memory is bounded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray, blocks
from voxelcast.encoders.params import Params

_BLOCK_BYTES = 16 * 2**20


class SolutionPath(ABC):
    """The models of all parameters, fitted to one training part."""

    params_list: tuple[Params, ...]

    @abstractmethod
    def coefficients(self, index: int) -> FloatArray:
        """Return B of parameters ``index``, ndarray of shape (p, q)."""

    def picked_coefficients(self, pick: IntArray) -> FloatArray:
        """Return the coefficients of voxels that each take parameters ``pick``, (q,), of their own; shape (p, q)."""
        if (pick == pick[0]).all():
            return self.coefficients(int(pick[0]))
        return self._mixed_coefficients(pick)

    @abstractmethod
    def _mixed_coefficients(self, pick: IntArray) -> FloatArray: ...


@dataclass(frozen=True)
class LinearPath(SolutionPath):
    """The models of all parameters, sharing directions and loadings: B_s = directions @ diag(filters[s]) @ loadings.

    Tensors with a dimension more in front are the paths of several training parts.

    Parameters
    ----------
    params_list : tuple of Params
        One per row of ``filters``, simplest model first.
    directions : ndarray of shape (p, r)
    filters : ndarray of shape (n_params, r)
    loadings : ndarray of shape (r, q)
    kept : ndarray of shape (n_params,), int, optional
        Where filters keep the first directions as they are and no others: how many.
    """

    params_list: tuple[Params, ...]
    directions: FloatArray
    filters: FloatArray
    loadings: FloatArray
    kept: IntArray | None = None

    def of_sets(self, some: Sequence[int]) -> Self:
        """Return the paths of some of the sets of folds of a stack, of shape (n_layers, n_sets, ...)."""
        arrays = {name: value[:, some] for name, value in vars(self).items() if getattr(value, "ndim", 0) > 2}
        return replace(self, **arrays)

    def coefficients(self, index: int) -> FloatArray:
        """Return B of parameters ``index``, ndarray of shape (p, q)."""
        return (self.directions * self.filters[index]) @ self.loadings

    def _mixed_coefficients(self, pick: IntArray) -> FloatArray:
        return self.directions @ (self.filters[pick].T * self.loadings)


@dataclass(frozen=True)
class ShrinkagePath(LinearPath):
    """A linear path whose filters are those of ridge regression, d_s = 1 / (eigenvalues + penalties[s]).

    That they have this form lets all penalties be scored by a few small products (`voxelcast.encoders.path_scores`).

    Parameters
    ----------
    eigenvalues : ndarray of shape (r,)
        Of the directions; not negative, ascending.
    penalties : ndarray of shape (n_params,)
    """

    eigenvalues: FloatArray = field(kw_only=True)
    penalties: FloatArray = field(kw_only=True)


@dataclass(frozen=True)
class VoxelPath(SolutionPath):
    """The models of all parameters, where nothing but S is shared between voxels.

    Parameters
    ----------
    params_list : tuple of Params
        Simplest model first.
    shape : tuple of int
        (p, q).
    solve : callable
        Takes a slice of m voxels and returns the coefficients of all parameters for them, ndarray of shape
        (n_params, m, p).
    """

    params_list: tuple[Params, ...]
    shape: tuple[int, int]
    solve: Callable[[slice], FloatArray]

    def blocks(self) -> Iterator[tuple[slice, FloatArray]]:
        """Solve some voxels at a time; yield their slice and coefficients, ndarray of shape (n_params, m, p)."""
        p, q = self.shape
        for voxels in blocks(q, 8 * max(len(self.params_list), 1) * p, _BLOCK_BYTES):
            yield voxels, self.solve(voxels)

    def coefficients(self, index: int) -> FloatArray:
        """Return B of parameters ``index``, ndarray of shape (p, q); solves the whole path."""
        return self._mixed_coefficients(np.full(self.shape[1], index))

    def _mixed_coefficients(self, pick: IntArray) -> FloatArray:
        B: FloatArray = np.empty(self.shape)
        for voxels, found in self.blocks():
            B[:, voxels] = found[pick[voxels], np.arange(found.shape[1])].T
        return B
