"""What selection does to scores: its bias on pure noise, and what it finds again of what was planted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from voxelcast.core.arrays import FloatArray
from voxelcast.core.seeds import generator
from voxelcast.encoders.banded_ridge import check_himalaya, fit_banded_ridge
from voxelcast.encoders.registry import get_encoder
from voxelcast.encoders.ridge import ridge_penalty
from voxelcast.search.base import FeatureSpace, PairResult
from voxelcast.search.folds import make_folds
from voxelcast.search.joined import JoinedSpace
from voxelcast.search.pair import PairContext, search_pair
from voxelcast.search.settings import EnsembleSettings, PairSettings, SelectionSettings
from voxelcast.search.sharing import Sharing

N_FOLDS, N_COMPONENTS = 5, 10


@dataclass(frozen=True)
class PlainSpace:
    """Features that were not compressed.

    Parameters
    ----------
    X : ndarray of shape (n_train + n_test, p)
    layer : str
    """

    X: FloatArray
    layer: str
    network: str = "simulated"
    fitted_in_folds: bool = False
    pool: str = ""

    def scores(self, excluded: tuple[int, ...] = ()) -> FloatArray:
        """Return the features, whatever was left out."""
        return self.X


@dataclass(frozen=True)
class Draws:
    """A quantity over independent draws of the data.

    Parameters
    ----------
    name : str
    values : tuple of float
        One per draw.
    """

    name: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over draws."""
        return float(np.mean(self.values))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean (Student's t over draws)."""
        half = stats.t.ppf(0.975, len(self.values) - 1) * stats.sem(self.values)
        return self.mean - float(half), self.mean + float(half)

    def line(self) -> str:
        """Return one line of text."""
        low, high = self.interval
        return f"{self.name:<52} {self.mean:7.3f}   95 % interval {low:.3f} to {high:.3f}"


WAYS: dict[str, tuple[SelectionSettings, EnsembleSettings]] = {
    "best candidate of the ROI": (SelectionSettings(), EnsembleSettings()),
    "one standard error": (SelectionSettings(rule="one_standard_error"), EnsembleSettings()),
    "best candidate of each voxel": (SelectionSettings("voxel"), EnsembleSettings()),
    "stacking": (SelectionSettings(), EnsembleSettings("stacking")),
    "stacking with all layers joined": (SelectionSettings(), EnsembleSettings("stacking", joined=True)),
    "average of 3": (SelectionSettings(), EnsembleSettings("average")),
    "banded ridge": (SelectionSettings(), EnsembleSettings("banded_ridge")),
}


def search_simulated(
    Y: FloatArray, layers: Sequence[FloatArray], seed: int, way: str, encoders: Sequence[str] = ("pls", "ridge")
) -> PairResult:
    """Search plain features with nested cross-validation, in one of ``WAYS``."""
    spaces: list[FeatureSpace] = [PlainSpace(X, f"layer {k}") for k, X in enumerate(layers)]
    selection, ensemble = WAYS[way]
    found = [get_encoder(name) for name in encoders]
    folds = make_folds(len(Y), N_FOLDS, seed)
    if ensemble.joined:
        spaces.append(JoinedSpace(spaces[:], folds))
    return search_pair(Y, spaces, found, folds, PairSettings(selection=selection, ensemble=ensemble, seed=seed))


def nested_score(result: PairResult) -> float:
    """Average the nested scores of the voxels, one without a score counting as 0."""
    return float("nan") if result.voxel_scores is None else float(np.nan_to_num(result.voxel_scores).mean())


def noise_scores(
    way: str, draws: int = 20, *, stimuli: int = 150, layers: int = 6, voxels: int = 20, seed: int = 0
) -> tuple[Draws, Draws]:
    """Search responses that have nothing to do with the features.

    Parameters
    ----------
    way : str
        One of ``WAYS``.
    draws, stimuli, layers, voxels, seed : int

    Returns
    -------
    selection, nested : Draws
        The score by which the candidate was chosen, and the nested score; the truth is 0.
    """
    selected, nested = [], []
    for draw in range(draws):
        rng = generator(seed, "noise", draw)
        features = [rng.standard_normal((stimuli, N_COMPONENTS)) for _ in range(layers)]
        result = search_simulated(rng.standard_normal((stimuli, voxels)), features, draw, way)
        selected.append(result.selection_score)
        nested.append(nested_score(result))
    return Draws(f"{way}: selection score", tuple(selected)), Draws(f"{way}: nested score", tuple(nested))


def two_layers(
    way: str, draws: int = 20, *, stimuli: int = 150, layers: int = 6, voxels: int = 20, seed: int = 0
) -> Draws:
    """Search responses that two of the layers drive in equal parts; return the nested scores."""
    scores = []
    for draw in range(draws):
        features, Y = _driven(generator(seed, "two layers", draw), stimuli, layers, voxels, drivers=(1, 4))[:2]
        scores.append(nested_score(search_simulated(Y, features, draw, way)))
    return Draws(f"{way}: nested score", tuple(scores))


def planted_choices(
    draws: int = 20, *, stimuli: int = 150, layers: int = 6, voxels: int = 20, seed: int = 0
) -> tuple[float, FloatArray]:
    """Search responses that one layer drives by weights of known variance.

    The best penalty is then that of the posterior mean, noise variance / weight variance.

    Returns
    -------
    found : float
        Share of the draws in which the layer was chosen.
    ratios : ndarray of shape (draws,)
        Chosen penalty / best penalty, of the ridge regressions on that layer.
    """
    found, ratios = [], []
    for draw in range(draws):
        rng = generator(seed, "one layer", draw)
        features, Y, best = _driven(rng, stimuli, layers, voxels, drivers=(2,))
        result = search_simulated(Y, features, draw, "best candidate of the ROI", ["ridge"])
        found.append(result.chosen.layer == "layer 2")
        X = features[2] - features[2].mean(axis=0)
        ratios.append(ridge_penalty(X.T @ X, float(result.chosen.setting["relative_alpha"])) / best)
    return float(np.mean(found)), np.array(ratios)


def planted_bands(
    draws: int = 20, *, stimuli: int = 150, layers: int = 6, voxels: int = 20, seed: int = 0
) -> tuple[float, float]:
    """Fit banded ridge to responses that two of the layers drive in equal parts.

    Returns
    -------
    found : float
        Share of the voxels of all draws in which the two layers' bands are the largest.
    share : float
        Their part of the variance predicted, averaged over voxels and draws; layers alike would make 2 / ``layers``.
    """
    found, shares = [], []
    for draw in range(draws):
        features, Y = _driven(generator(seed, "two layers", draw), stimuli, layers, voxels, drivers=(1, 4))[:2]
        model = fit_banded_ridge(features, Y, make_folds(stimuli, N_FOLDS, draw), seed=draw)
        largest = np.sort(np.argsort(-model.shares, axis=0)[:2], axis=0)
        found.append(float((largest == np.array([[1], [4]])).all(axis=0).mean()))
        shares.append(float(model.shares[[1, 4]].sum(axis=0).mean()))
    return float(np.mean(found)), float(np.mean(shares))


def sharing_scores(
    draws: int = 20, *, stimuli: int = 150, voxels: int = 5, subjects: int = 10, components: int = 5, seed: int = 0
) -> tuple[Draws, Draws]:
    """Search a subject's few noisy voxels alone and with targets shared with other subjects.

    All subjects' responses follow the same directions of the features of one layer, with weights of their own, and
    have noise of their own.

    Returns
    -------
    alone, shared : Draws
        The nested scores.
    """
    alone: list[float] = []
    shared: list[float] = []
    for draw in range(draws):
        rng = generator(seed, "sharing", draw)
        X = rng.standard_normal((stimuli, 3 * N_COMPONENTS))
        common = X @ rng.standard_normal((3 * N_COMPONENTS, components)) / np.sqrt(3 * N_COMPONENTS)
        Ys = [
            common @ rng.standard_normal((components, voxels)) + 4 * rng.standard_normal((stimuli, voxels))
            for _ in range(subjects)
        ]
        folds = make_folds(stimuli, N_FOLDS, draw)
        for sharing, scores in ((None, alone), (Sharing(components, Ys[1:]), shared)):
            context = PairContext(sharing=sharing)
            found = search_pair(Ys[0], [PlainSpace(X, "layer")], [get_encoder("ridge")], folds, context=context)
            scores.append(nested_score(found))
    return Draws("each subject alone: nested score", tuple(alone)), Draws("shared: nested score", tuple(shared))


def _driven(
    rng: np.random.Generator, stimuli: int, layers: int, voxels: int, drivers: Sequence[int], noise: float = 4.0
) -> tuple[list[FloatArray], FloatArray, float]:
    """Draw features, responses, and the best ridge penalty on the drivers."""
    features: list[FloatArray] = [rng.standard_normal((stimuli, N_COMPONENTS)) for _ in range(layers)]
    Y: FloatArray = noise * rng.standard_normal((stimuli, voxels))
    for place in drivers:
        Y += features[place] @ rng.standard_normal((N_COMPONENTS, voxels))
    return features, Y, noise**2


def benchmark_selection(draws: int = 20) -> list[str]:
    """Return the report: noise, one planted layer, two planted layers."""
    check_himalaya()
    lines = [f"pure noise, {draws} draws; the truth is 0"]
    for way in WAYS:
        lines += [part.line() for part in noise_scores(way, draws)]
    found, ratios = planted_choices(draws)
    low, middle, high = np.quantile(ratios, [0.1, 0.5, 0.9])
    lines.append(f"one layer planted: chosen in {found:.0%} of the draws; chosen / best penalty: median {middle:.2f},")
    lines.append(f"  80 % of the draws between {low:.2f} and {high:.2f}")
    lines.append("two layers planted")
    lines += [two_layers(way, draws).line() for way in WAYS]
    bands, share = planted_bands(draws)
    lines.append(
        f"  banded ridge: the two layers' bands are the largest in {bands:.0%} of the voxels; together {share:.0%}"
    )
    lines.append("5 noisy voxels of each of 10 subjects that share 5 components")
    return [*lines, *(scores.line() for scores in sharing_scores(draws))]
