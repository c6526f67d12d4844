from __future__ import annotations

from voxelcast.core.seeds import derive_seed, generator

FOLDS_SEED = 2128960423


def test_seeds_are_fixed_for_ever() -> None:
    # A change of this number would change every published result.
    assert derive_seed(0, "folds") == FOLDS_SEED


def test_other_names_and_seeds_give_other_streams() -> None:
    streams = {tuple(generator(*args).integers(0, 2**31, 4)) for args in [(0, "a"), (1, "a"), (0, "b"), (0, "a", 1)]}
    assert len(streams) == 4
    assert tuple(generator(0, "a").integers(0, 2**31, 4)) in streams
