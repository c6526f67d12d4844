"""Real responses, shuffled: how often the interval of a score of nothing leaves out 0."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

import voxelcast as vc
from benchmarks.honesty.check import Check
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import VoxelcastWarning
from voxelcast.core.seeds import generator
from voxelcast.datasets.registry import open_dataset
from voxelcast.experiment.settings_file import load_config
from voxelcast.features.delays import delay, delayed_rows
from voxelcast.features.pca import PCAOptions, pca_scores
from voxelcast.scoring.settings import SignificanceSettings
from voxelcast.stimuli.images import read_image
from voxelcast.stimuli.listing import list_stimuli

_PLAIN = vc.EvaluationSettings(significance=SignificanceSettings(0))
_ROOT: Final = Path(__file__).resolve().parents[2]
_ALLOWED = (0.03, 0.07)
_POOLED = 14  # pixels of a side


class _Real(NamedTuple):
    """Features, responses, and the runs of volumes that are exchanged and rotated; else stimuli are shuffled."""

    X: FloatArray
    Y: FloatArray
    runs: list[str] | None
    folds: int


def data_folder() -> Path:
    """Return where the real data are, if they are there."""
    return Path(os.environ.get("VOXELCAST_TEST_DATA", _ROOT.parent / "shared" / "data"))


def v4_session() -> _Real:
    """Read 50 neurons' mean responses to 640 pictures; features are 20 components of the pictures at 14 x 14."""
    folder = data_folder() / "v4_macaque"
    pictures = [read_image(stimulus).mean(axis=2) for stimulus in list_stimuli(folder / "images_210325.zip")]
    side = len(pictures[0]) // _POOLED
    X = np.stack([p.reshape(_POOLED, side, _POOLED, side).mean(axis=(1, 3)).ravel() for p in pictures])
    X -= X.mean(axis=0)
    scores = pca_scores(X @ X.T, np.arange(len(X)), PCAOptions(20, where=" of pictures")).scores
    return _Real(scores, np.load(folder / "responses_avg_210325.npy").T, None, 10)


def haxby_series() -> _Real:
    """Read the grey matter of 12 runs, z-scored by run; features are the kinds shown, at six delays."""
    overrides = [f"dataset.root={data_folder() / 'haxby_series'}"]
    config = load_config(_ROOT / "examples" / "haxby_series.yaml", overrides)
    dataset = open_dataset(config.dataset)
    ids = [stimulus.stimulus_id for stimulus in dataset.train_stimuli]
    assert dataset.series is not None
    assert isinstance(config.delays, tuple)
    X = delay(np.asarray(dataset.features("conditions")), delayed_rows(ids, ids, dataset.series, config.delays))
    Y = dataset.responses("sub001", "gray").mean()
    runs = [str(dataset.series[stimulus_id][0]) for stimulus_id in ids]
    for run in set(runs):
        own = np.array(runs) == run
        Y[own] = (Y[own] - Y[own].mean(axis=0)) / Y[own].std(axis=0)
    return _Real(X, Y[:, np.isfinite(Y).all(axis=0)], runs, 6)


REAL: Final[dict[str, Callable[[], _Real]]] = {
    "V4 session 210325, pictures shuffled": v4_session,
    "Haxby series, runs exchanged and rotated": haxby_series,
}


def measure_shuffled(name: str, draws: int, seed: int) -> list[Check]:
    """Shuffle responses and count; nothing where the data are not there."""
    warnings.simplefilter("ignore", VoxelcastWarning)
    if not data_folder().is_dir():
        return []
    X, Y, runs, folds = REAL[name]()
    missed = 0
    for draw in range(draws):
        order = _shuffled(runs, len(Y), generator(seed, name, draw))
        scores = vc.evaluate(vc.FeatureSpace(X, compression=None), Y[order], folds=folds, groups=runs, settings=_PLAIN)
        missed += not scores.attrs["score_low"] <= 0 <= scores.attrs["score_high"]
    return [Check("intervals", name, "95 % interval of nothing leaves out 0", missed / draws, *_ALLOWED, draws)]


def _shuffled(runs: list[str] | None, n: int, rng: np.random.Generator) -> list[int]:
    if runs is None:
        return [int(row) for row in rng.permutation(n)]
    rows = [np.flatnonzero(np.array(runs) == run) for run in dict.fromkeys(runs)]
    return [int(row) for k in rng.permutation(len(rows)) for row in np.roll(rows[k], rng.integers(len(rows[k])))]
