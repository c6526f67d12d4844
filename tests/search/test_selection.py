"""Selection per voxel and by the one-standard-error rule, against searches of one voxel and plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from tests.search.spaces import search
from voxelcast.core.errors import OptionError
from voxelcast.encoders.registry import get_encoder
from voxelcast.search.folds import make_folds
from voxelcast.search.settings import SelectionSettings

from .spaces import Fixed, layer_names, simulated

N_FOLDS = 4


@pytest.mark.parametrize(("encoders", "method"), [(["ridge"], "exact"), (["omp"], "exact"), (["ridge", "omp"], "grid")])
def test_each_voxel_chooses_as_if_it_were_alone(
    encoders: list[str], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(get_encoder("ridge")), "refined", lambda *_: ())
    raw, Y = simulated(60, 5, 6, 4, layers=2, noise=6.0)
    other = simulated(60, 5, 6, 4, layers=2, true_layer=1, noise=6.0)[1]
    Y[:, 2:] = other[:, 2:]
    folds = make_folds(60, N_FOLDS, 0)
    spaces = [Fixed(X, name) for X, name in zip(raw, layer_names(2), strict=True)]
    made = [get_encoder(name) for name in encoders]
    per_voxel = SelectionSettings("voxel")
    together = search(Y, spaces, made, folds, method=method, trials=8, selection=per_voxel)
    assert together.out_of_fold is not None
    assert sum(share.n_voxels for share in together.shares) == 4
    for voxel in range(4):
        alone = search(Y[:, [voxel]], spaces, made, folds, method=method, trials=8)
        assert alone.out_of_fold is not None
        np.testing.assert_allclose(together.predictions[:, voxel], alone.predictions[:, 0], atol=1e-8)
        np.testing.assert_allclose(together.out_of_fold[:, voxel], alone.out_of_fold[:, 0], atol=1e-8)


def test_one_standard_error_takes_the_simplest_that_is_nearly_as_good() -> None:
    simpler = 0
    for seed in range(5):
        raw, Y = simulated(60, 5, 8, 4, noise=5.0, seed=seed)
        folds = make_folds(60, N_FOLDS, seed)
        best, simple = (
            search(Y, [Fixed(raw[0])], [get_encoder("pls")], folds, selection=SelectionSettings(rule=rule))
            for rule in ("best", "one_standard_error")
        )
        scores = np.array([candidate.fold_scores for candidate in best.candidates])
        means, top = scores.mean(axis=1), int(scores.mean(axis=1).argmax())
        error = scores[top].std(ddof=1) / np.sqrt(N_FOLDS)
        expected = int(np.flatnonzero(means >= means[top] - error)[0])
        assert simple.chosen.params == best.candidates[expected].params
        simpler += expected < top
    assert simpler > 0


def test_settings_are_checked() -> None:
    raw, Y = simulated(60, 5, 8, 4)
    with pytest.raises(OptionError, match=r"rule must be one of best, one_standard_error; got 'worst'"):
        SelectionSettings(rule="worst")
    with pytest.raises(OptionError, match=r"voxels choose by search\.metric pearson_r"):
        search(
            Y,
            [Fixed(raw[0])],
            [get_encoder("pls")],
            make_folds(60, N_FOLDS, 0),
            metric="pooled_2021",
            selection=SelectionSettings("voxel"),
        )
