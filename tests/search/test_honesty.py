"""Pure noise, with everything that chooses and weighs switched on: the nested score does not show it, others do."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.selection import Draws, nested_score
from tests.search.spaces import search
from voxelcast.core.arrays import FloatArray
from voxelcast.core.seeds import generator
from voxelcast.encoders.registry import get_encoder
from voxelcast.search.folds import make_folds
from voxelcast.search.repeated import combine_repeats
from voxelcast.search.settings import EnsembleSettings, SelectionSettings

from .spaces import Fixed, layer_names

DRAWS, MOVIES, CLIPS = 20, 24, 3


def _noise_scores(draw: int, *, grouped: bool) -> tuple[float, float]:
    """Search features and responses that have nothing to do with each other, both alike within a movie.

    Returns
    -------
    nested, selection : float
        Means over two partitions into folds.
    """
    rng = generator(0, "noise of movies", draw)
    movie = np.repeat(np.arange(MOVIES), CLIPS)

    def alike(columns: int) -> FloatArray:
        own: FloatArray = rng.standard_normal((len(movie), columns))
        return rng.standard_normal((MOVIES, columns))[movie] + 0.5 * own

    spaces, Y = [Fixed(alike(5), name) for name in layer_names(3)], alike(8)
    groups = [f"movie {k}" for k in movie] if grouped else None
    results = [
        search(
            Y,
            spaces,
            [get_encoder("ridge")],
            make_folds(len(Y), 4, 2 * draw + repeat, groups),
            selection=SelectionSettings("voxel"),
            ensemble=EnsembleSettings("stacking"),
        )
        for repeat in range(2)
    ]
    combined = combine_repeats(results)
    return nested_score(combined), combined.selection_score


@pytest.fixture(scope="module")
def grouped() -> tuple[Draws, Draws]:
    nested, selection = zip(*(_noise_scores(draw, grouped=True) for draw in range(DRAWS)), strict=True)
    return Draws("nested", nested), Draws("selection", selection)


def test_the_nested_score_of_noise_is_zero_whatever_was_chosen_and_weighed(grouped: tuple[Draws, Draws]) -> None:
    # Over 150 other draws it is -.001, 95 % interval -.012 to .009.
    low, high = grouped[0].interval
    assert low < 0 < high
    assert high - low < 0.1


def test_the_score_by_which_voxels_chose_is_not(grouped: tuple[Draws, Draws]) -> None:
    assert grouped[1].interval[0] > 0.2


def test_folds_that_divide_movies_would_show_what_is_not_there() -> None:
    nested = Draws("nested", tuple(_noise_scores(draw, grouped=False)[0] for draw in range(4)))
    assert nested.interval[0] > 0.1
