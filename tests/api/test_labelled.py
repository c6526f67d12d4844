"""Arrays of NumPy, pandas and xarray are joined by the ids of stimuli."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from voxelcast.api.labelled import feature_rows, mean_responses, response_rows
from voxelcast.core.errors import AlignmentError, DataError, ShapeError
from voxelcast.datasets.base import ResponseSet

IDS = ["a", "b", "c", "d"]
X = np.arange(12.0).reshape(4, 3)
Y = np.arange(16.0).reshape(4, 2, 2)
ORDER = [2, 0, 3, 1]


def as_xarray(values: Any = X, ids: list[str] | None = None, dim: str = "component") -> xr.DataArray:
    return xr.DataArray(values, dims=("stimulus", dim), coords={} if ids is None else {"stimulus": ids})


@pytest.mark.parametrize(
    "features",
    [
        as_xarray(X[ORDER], [IDS[k] for k in ORDER]),
        as_xarray(X[ORDER], [IDS[k] for k in ORDER]).transpose(),
        pd.DataFrame(X[ORDER], index=[IDS[k] for k in ORDER]),
        as_xarray(np.vstack([[9, 9, 9], X]), ["held out", *IDS], dim="feature"),
    ],
    ids=["xarray", "transposed", "pandas", "of more stimuli"],
)
def test_rows_are_joined_by_id(features: Any) -> None:
    responses = response_rows(ResponseSet("ann", "V1", tuple(IDS), Y, "beta"))
    np.testing.assert_array_equal(feature_rows(features).in_order_of(responses), X)


@pytest.mark.parametrize("features", [X, pd.DataFrame(X), as_xarray(), X.astype(int)], ids=lambda x: type(x).__name__)
def test_rows_without_ids_keep_their_order(features: Any) -> None:
    np.testing.assert_array_equal(feature_rows(features).in_order_of(response_rows(Y)), X)
    with pytest.raises(AlignmentError, match=r"features \(4 rows\) and responses \(3 rows\)"):
        feature_rows(features).in_order_of(response_rows(Y[:3]))


def test_a_stimulus_without_features_is_named() -> None:
    responses = response_rows(ResponseSet("ann", "V1", tuple(IDS), Y))
    with pytest.raises(AlignmentError, match="only in responses: b"):
        feature_rows(as_xarray(X[1:], ["a", "c", "d"])).in_order_of(responses)
    with pytest.raises(AlignmentError, match="got 'a' several times"):
        feature_rows(as_xarray(X, ["a", "a", "c", "d"]))


def test_responses_keep_their_coordinates() -> None:
    given = ResponseSet("ann", "V1", tuple(IDS), Y, "beta").labelled().assign_coords(hemisphere=("voxel", ["l", "r"]))
    for array in (given, given.transpose("voxel", "stimulus", "repetition")):
        rows = response_rows(array)
        np.testing.assert_array_equal(rows.values, Y)
        assert (rows.scalar("subject"), rows.scalar("roi"), rows.attrs["unit"]) == ("ann", "V1", "beta")
        assert list(rows.coords["hemisphere"].values) == ["l", "r"]
    frame = response_rows(pd.DataFrame(Y[:, 0], index=IDS, columns=["v1", "v2"]))
    assert frame.ids == tuple(IDS)
    assert frame.coords["voxel"] == ("voxel", ["v1", "v2"])


def test_repetitions_are_averaged_as_far_as_they_are_there() -> None:
    missing = Y.copy()
    missing[0, 1] = np.nan
    np.testing.assert_array_equal(mean_responses(response_rows(missing))[0], Y[0, 0])


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (X[0], ShapeError),
        (as_xarray().rename(stimulus="row"), ShapeError),
        (np.array([["x", "y"]]), DataError),
    ],
    ids=["one dimension", "no stimuli", "text"],
)
def test_other_features_are_refused(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="features"):
        feature_rows(wrong)


@pytest.mark.parametrize("wrong", [Y[0, 0], as_xarray(), np.zeros((4, 0))], ids=["one dimension", "features", "empty"])
def test_other_responses_are_refused(wrong: Any) -> None:
    with pytest.raises(ShapeError, match="responses"):
        response_rows(wrong)
