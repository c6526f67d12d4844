"""A search holds no more memory than `voxelcast.search.memory` states, however many folds there are."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks.simulation import simulate_features, simulate_responses
from tests.search.spaces import search
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.registry import get_encoder
from voxelcast.search import ensemble
from voxelcast.search.base import GivenFeatures
from voxelcast.search.memory import FitSize, fit_bytes
from voxelcast.search.settings import EnsembleSettings, SelectionSettings

N, Q, P = 1000, 1200, 12
# Blocks of voxels, which do not grow with anything.
CONSTANT = 24e6


@dataclass(frozen=True)
class _Refitted(GivenFeatures):
    """Features that are read anew for every part, as those on disk are."""

    fitted_in_folds: bool = True

    def scores(self, excluded: tuple[int, ...] = ()) -> np.ndarray:
        return self.features + 1e-3 * len(excluded)


@pytest.fixture(autouse=True)
def _weights_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # They are found voxel by voxel in little memory, and under a tracer that takes half a minute.
    monkeypatch.setattr(ensemble.StackingSums, "weights", lambda sums, *_: np.full(sums.c.T.shape, 0.2))


def _peak(n_folds: int, n_layers: int, refitted: bool, per: str, method: str) -> tuple[float, dict[str, float]]:
    kind = _Refitted if refitted else GivenFeatures
    spaces = [kind("given", f"layer {k}", simulate_features(N, P, 0, k)) for k in range(n_layers)]
    encoders = [get_encoder(name) for name in ("pls", "ridge")]
    Y = simulate_responses(spaces[0].features, Q, 0)
    tracemalloc.start()
    try:
        search(
            Y,
            spaces,
            encoders,
            np.arange(N) * n_folds // N,
            selection=SelectionSettings(per),
            ensemble=EnsembleSettings(method),
        )
        # The responses themselves were there before.
        peak = tracemalloc.get_traced_memory()[1] + Y.nbytes
    finally:
        tracemalloc.stop()
    size = FitSize(ProblemSize(N, P, Q), 0, n_folds, n_layers, tuple(encoders), refitted, per == "voxel", method)
    return peak, fit_bytes(size)


@pytest.mark.slow
@pytest.mark.parametrize("refitted", [False, True])
@pytest.mark.parametrize(
    ("n_layers", "per", "method"), [(1, "roi", "none"), (3, "voxel", "none"), (4, "voxel", "stacking")]
)
def test_the_peak_is_what_is_stated(n_layers, per, method, refitted):
    peak, stated = _peak(4, n_layers, refitted, per, method)
    assert peak <= sum(stated.values()) + CONSTANT
    # Stated, not guessed far too high.
    assert peak >= 0.5 * sum(stated.values())


@pytest.mark.slow
def test_folds_cost_no_copies_of_the_responses():
    few, many = (_peak(n_folds, 1, True, "roi", "none")[0] for n_folds in (3, 9))
    assert many - few < 8 * N * Q


@pytest.mark.slow
def test_stacking_keeps_the_moments_of_one_layer_at_a_time():
    few, many = (_peak(4, n_layers, False, "voxel", "stacking")[0] for n_layers in (2, 6))
    # Two folds' predictions and the sums over the layers; not every layer's moments of every part.
    held = 8 * (5 * (6 * 7 - 2 * 3) + 2 * 4 * N / 4 + 4 * 2 * P + 2 * 4 * 5) * Q
    assert many - few <= held + 4e6
