"""Features and responses from NumPy, pandas and xarray, joined by the ids of their stimuli."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_same_stimuli
from voxelcast.core.errors import AlignmentError, DataError, ShapeError
from voxelcast.datasets.base import ResponseSet

Ids = tuple[str, ...] | None
"""Ids of stimuli; None where an array has none."""


@dataclass(frozen=True, eq=False)
class Rows:
    """An array with a row for each stimulus: ``values`` of shape (n_stimuli, ...), and ``what`` it is called.

    ``attrs`` are those of the DataArray it came from, ``coords`` the coordinates of its last dimension, and those
    without a dimension (subject, roi).
    """

    what: str
    values: FloatArray
    ids: Ids
    attrs: Mapping[str, Any] = field(default_factory=dict)
    coords: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not np.issubdtype(self.values.dtype, np.floating):
            raise DataError(f"{self.what} must be numbers; got an array of {self.values.dtype}")
        if self.ids is not None and len(set(self.ids)) < len(self.ids):
            twice = next(name for name in self.ids if self.ids.count(name) > 1)
            raise AlignmentError(f"{self.what} must have each stimulus once; got {twice!r} several times")

    def in_order_of(self, other: Rows) -> FloatArray:
        """Return the values in the order of another array's stimuli, by their ids where both have some.

        Stimuli that the other array does not have are left out; a stimulus of the other array that is missing here, or,
        without ids, another number of rows is an AlignmentError.
        """
        if self.ids is None or other.ids is None:
            if len(self.values) != len(other.values):
                raise AlignmentError(
                    f"{self.what} ({len(self.values)} rows) and {other.what} ({len(other.values)} rows) must have the "
                    "same stimuli where one has no ids; give both as xarray with a coordinate 'stimulus', or as "
                    "pandas with an index"
                )
            return self.values
        row = {name: index for index, name in enumerate(self.ids)}
        common = [name for name in other.ids if name in row]
        check_same_stimuli(self.what, common, other.what, other.ids)
        return self.values if self.ids == other.ids else self.values[[row[name] for name in other.ids]]

    def scalar(self, name: str) -> str:
        """Return a coordinate that all rows have in common, such as the subject; empty where there is none."""
        coord = self.coords.get(name)
        return "" if coord is None or getattr(coord, "dims", None) != () else str(coord.item())


def feature_rows(given: Any, what: str = "features") -> Rows:
    """Take features as they come: array-like, DataFrame or DataArray of shape (n_stimuli, n_features).

    A DataArray has a dimension ``stimulus``, and may have ``time`` before that of its features. A DataFrame's index are
    the ids of the stimuli, unless it only counts. Other dimensions are a ShapeError.
    """
    rows = _rows(given, what, last="")
    if rows.values.ndim not in (2, 3):
        raise ShapeError(f"{what} must have shape (n_stimuli, n_features); got {rows.values.shape}")
    return rows


def response_rows(given: Any) -> Rows:
    """Take responses as they come, as an array of shape (n_stimuli, n_repetitions, n_voxels), float64.

    They are array-like, a DataFrame, a DataArray or a ResponseSet of shape (n_stimuli, n_voxels) or (n_stimuli,
    n_repetitions, n_voxels). The dimensions of a DataArray are ``stimulus``, ``voxel`` and perhaps ``repetition``, in
    any order. Other dimensions are a ShapeError.
    """
    rows = _rows(given.labelled() if isinstance(given, ResponseSet) else given, "responses", last="voxel")
    values = rows.values[:, None] if rows.values.ndim == 2 else rows.values
    if values.ndim != 3 or values.shape[2] == 0:
        raise ShapeError(
            "responses must have shape (n_stimuli, n_voxels) or (n_stimuli, n_repetitions, n_voxels); "
            f"got {rows.values.shape}"
        )
    return replace(rows, values=values.astype(np.float64))


def mean_responses(responses: Rows) -> FloatArray:
    """Average responses over the repetitions that are there, ndarray of shape (n_stimuli, n_voxels)."""
    ids = responses.ids or tuple(map(str, range(len(responses.values))))
    return ResponseSet("", "", ids, responses.values).mean()


def _rows(given: Any, what: str, last: str) -> Rows:
    if isinstance(given, xr.DataArray):
        return _from_xarray(given, what, last)
    if isinstance(given, pd.DataFrame):
        ids = None if isinstance(given.index, pd.RangeIndex) else tuple(map(str, given.index))
        coords = {last: (last, list(given.columns))} if last and not isinstance(given.columns, pd.RangeIndex) else {}
        return Rows(what, _floats(given.to_numpy()), ids, coords=coords)
    return Rows(what, _floats(np.asarray(given)), None)


def _from_xarray(given: xr.DataArray, what: str, last: str) -> Rows:
    known = ("stimulus", "repetition", "voxel") if last else ("stimulus", "time")
    strange = sorted(set(map(str, given.dims)) - set(known)) if last else []
    if "stimulus" not in given.dims or strange or (last and last not in given.dims):
        asked = "stimulus, voxel and perhaps repetition" if last else "stimulus and component or feature"
        raise ShapeError(f"{what} must have the dimensions {asked}; got ({', '.join(map(str, given.dims))})")
    others = [dim for dim in given.dims if dim not in known]
    array = given.transpose(*(dim for dim in known if dim in given.dims), *others)
    ids = tuple(map(str, array["stimulus"].values)) if "stimulus" in array.coords else None
    kept = {str(name): coord for name, coord in array.coords.items() if coord.dims in ((), (last,))}
    return Rows(what, _floats(array.to_numpy()), ids, dict(array.attrs), kept)


def _floats(values: Any) -> FloatArray:
    """Make whole numbers floating-point ones, and leave the others as they are."""
    return np.asarray(values.astype(np.float64) if values.dtype.kind in "iub" else values)
