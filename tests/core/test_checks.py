from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.checks import (
    check_file_name,
    check_finite,
    check_inside,
    check_known,
    check_option,
    check_same_stimuli,
    check_shape,
)
from voxelcast.core.errors import (
    AlignmentError,
    DataError,
    OptionError,
    ShapeError,
    UnknownNameError,
    UnsafeFileError,
    VoxelcastError,
)


def test_option_lists_what_is_allowed() -> None:
    check_option("pool", "mean", ["mean"])
    with pytest.raises(OptionError, match=r"pool must be one of mean, max; got 'maen'"):
        check_option("pool", "maen", ["mean", "max"])


def test_unknown_name_offers_the_nearest_and_reads_as_a_sentence() -> None:
    with pytest.raises(UnknownNameError) as caught:
        check_known("layer", "featres.10", ["features.10", "classifier"], where="in 'mobilenet_v2'", remedy="List them")
    assert (
        str(caught.value) == "layer 'featres.10' does not exist in 'mobilenet_v2'; did you mean features.10? List them"
    )


def test_shape_names_the_dimensions() -> None:
    check_shape("responses", np.zeros((4, 3)), ["n_stimuli", "n_voxels"], [4, None])
    with pytest.raises(ShapeError, match=r"\(n_stimuli=5, n_voxels\); got \(4, 3\)"):
        check_shape("responses", np.zeros((4, 3)), ["n_stimuli", "n_voxels"], [5, None])


def test_finite_counts_the_bad() -> None:
    with pytest.raises(DataError, match="got 2 of 3 values"):
        check_finite("x", np.array([np.nan, 1.0, np.inf]))


@pytest.mark.parametrize(
    ("right", "said"),
    [
        (["a", "c", "b"], "other order: at place 1 'b' against 'c'"),
        (["a", "b"], "only in left: c"),
        (["a", "b", "c", "d"], "only in right: d"),
    ],
)
def test_alignment_names_the_first_ids_that_differ(right: list[str], said: str) -> None:
    check_same_stimuli("left", ["a", "b", "c"], "right", ["a", "b", "c"])
    with pytest.raises(AlignmentError, match=said):
        check_same_stimuli("left", ["a", "b", "c"], "right", right)


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/passwd", "C:/x", "..\\a", "", ".", "a\0b"])
def test_names_that_lead_outside_are_refused(name: str) -> None:
    with pytest.raises(UnsafeFileError):
        check_inside(name, "archive.zip")


@pytest.mark.parametrize("name", ["a.png", "folder/a.png", "a..b.png", "a b.png"])
def test_plain_names_pass(name: str) -> None:
    assert check_inside(name, "archive.zip") == name


@pytest.mark.parametrize("name", ["a/b", ".hidden", "..", "a\\b"])
def test_names_that_are_no_file_name_are_refused(name: str) -> None:
    with pytest.raises(UnsafeFileError):
        check_file_name(name, "subject")


def test_every_error_is_also_a_builtin_error() -> None:
    for kind in VoxelcastError.__subclasses__():
        assert len(kind.__bases__) == 2, kind
        assert issubclass(kind.__bases__[1], Exception)
        assert not issubclass(kind.__bases__[1], VoxelcastError)
