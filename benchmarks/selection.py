"""What selection does to scores: its bias on pure noise, and what it finds again of what was planted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from voxelcast.core.arrays import FloatArray
from voxelcast.core.seeds import generator
from voxelcast.encoders.banded_ridge import fit_banded_ridge
from voxelcast.encoders.registry import get_encoder
from voxelcast.encoders.ridge import ridge_penalty
from voxelcast.search.base import FeatureSpace, GivenFeatures, PairContext, PairResult
from voxelcast.search.folds import make_folds
from voxelcast.search.joined import JoinedSpace
from voxelcast.search.pair import search_pair
from voxelcast.search.settings import EnsembleSettings, PairSettings, SelectionSettings
from voxelcast.search.sharing import Sharing

N_FOLDS, N_COMPONENTS = 5, 10
NOISE = 4.0
"""Standard deviation of the responses' noise; each component that drives them adds a variance of 1."""


@dataclass(frozen=True)
class Simulation:
    """Sizes of the simulated data, and how often they are drawn anew."""

    draws: int = 20
    stimuli: int = 150
    layers: int = 6
    voxels: int = 20
    seed: int = 0

    def draw(self, name: str, drivers: Sequence[int] = ()) -> Iterator[tuple[list[FloatArray], FloatArray]]:
        """Yield the features of all layers, and responses that some of them drive with weights of variance 1."""
        for number in range(self.draws):
            rng = generator(self.seed, name, number)
            features: list[FloatArray] = [rng.standard_normal((self.stimuli, N_COMPONENTS)) for _ in range(self.layers)]
            Y: FloatArray = NOISE * rng.standard_normal((self.stimuli, self.voxels))
            for layer in drivers:
                Y += features[layer] @ rng.standard_normal((N_COMPONENTS, self.voxels))
            yield features, Y


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
    spaces: list[FeatureSpace] = [GivenFeatures("simulated", f"layer {k}", X) for k, X in enumerate(layers)]
    selection, ensemble = WAYS[way]
    found = [get_encoder(name) for name in encoders]
    folds = make_folds(len(Y), N_FOLDS, seed)
    if ensemble.joined:
        spaces.append(JoinedSpace(spaces[:], folds))
    return search_pair(Y, spaces, found, folds, PairSettings(selection=selection, ensemble=ensemble, seed=seed))


def nested_score(result: PairResult) -> float:
    """Average the nested scores of the voxels, one without a score counting as 0."""
    return float("nan") if result.voxel_scores is None else float(np.nan_to_num(result.voxel_scores).mean())


def noise_scores(way: str, simulation: Simulation) -> tuple[Draws, Draws]:
    """Search responses that have nothing to do with the features, in one of ``WAYS``.

    Returns
    -------
    selection, nested : Draws
        The score by which the candidate was chosen, and the nested score; the truth is 0.
    """
    results = [search_simulated(Y, X, draw, way) for draw, (X, Y) in enumerate(simulation.draw("noise"))]
    return (
        Draws(f"{way}: selection score", tuple(result.selection_score for result in results)),
        Draws(f"{way}: nested score", tuple(map(nested_score, results))),
    )


def two_layers(way: str, simulation: Simulation) -> Draws:
    """Search responses that two of the layers drive in equal parts; return the nested scores."""
    data = enumerate(simulation.draw("two layers", drivers=(1, 4)))
    scores = [nested_score(search_simulated(Y, features, draw, way)) for draw, (features, Y) in data]
    return Draws(f"{way}: nested score", tuple(scores))


def planted_choices(simulation: Simulation) -> tuple[float, FloatArray]:
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
    for draw, (features, Y) in enumerate(simulation.draw("one layer", drivers=(2,))):
        result = search_simulated(Y, features, draw, "best candidate of the ROI", ["ridge"])
        found.append(result.chosen.layer == "layer 2")
        X = features[2] - features[2].mean(axis=0)
        ratios.append(ridge_penalty(X.T @ X, float(result.chosen.params["relative_alpha"])) / NOISE**2)
    return float(np.mean(found)), np.array(ratios)


def planted_bands(simulation: Simulation) -> tuple[float, float]:
    """Fit banded ridge to responses that two of the layers drive in equal parts.

    Returns
    -------
    found : float
        Share of the voxels of all draws in which the two layers' bands are the largest.
    share : float
        Their part of the variance predicted, averaged over voxels and draws; layers alike would make 2 / ``layers``.
    """
    found, shares = [], []
    for draw, (features, Y) in enumerate(simulation.draw("two layers", drivers=(1, 4))):
        model = fit_banded_ridge(features, Y, make_folds(len(Y), N_FOLDS, draw), seed=draw)
        largest = np.sort(np.argsort(-model.shares, axis=0)[:2], axis=0)
        found.append(float((largest == np.array([[1], [4]])).all(axis=0).mean()))
        shares.append(float(model.shares[[1, 4]].sum(axis=0).mean()))
    return float(np.mean(found)), float(np.mean(shares))


def sharing_scores(simulation: Simulation, *, subjects: int = 10, components: int = 5) -> tuple[Draws, Draws]:
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
    n, voxels = simulation.stimuli, simulation.voxels
    for draw in range(simulation.draws):
        rng = generator(simulation.seed, "sharing", draw)
        X = rng.standard_normal((n, 3 * N_COMPONENTS))
        common = X @ rng.standard_normal((3 * N_COMPONENTS, components)) / np.sqrt(3 * N_COMPONENTS)
        Ys = [
            common @ rng.standard_normal((components, voxels)) + NOISE * rng.standard_normal((n, voxels))
            for _ in range(subjects)
        ]
        folds = make_folds(n, N_FOLDS, draw)
        for sharing, scores in ((None, alone), (Sharing(components, Ys[1:]), shared)):
            context = PairContext(sharing=sharing)
            space = GivenFeatures("simulated", "layer", X)
            scores.append(nested_score(search_pair(Ys[0], [space], [get_encoder("ridge")], folds, context=context)))
    return Draws("each subject alone: nested score", tuple(alone)), Draws("shared: nested score", tuple(shared))


def benchmark_selection(draws: int = 20) -> list[str]:
    """Return the report: noise, one planted layer, two planted layers."""
    simulation = Simulation(draws)
    lines = [f"pure noise, {draws} draws; the truth is 0"]
    for way in WAYS:
        lines += [part.line() for part in noise_scores(way, simulation)]
    found, ratios = planted_choices(simulation)
    low, middle, high = np.quantile(ratios, [0.1, 0.5, 0.9])
    lines.append(f"one layer planted: chosen in {found:.0%} of the draws; chosen / best penalty: median {middle:.2f},")
    lines.append(f"  80 % of the draws between {low:.2f} and {high:.2f}")
    lines.append("two layers planted")
    lines += [two_layers(way, simulation).line() for way in WAYS]
    bands, share = planted_bands(simulation)
    lines.append(
        f"  banded ridge: the two layers' bands are the largest in {bands:.0%} of the voxels; together {share:.0%}"
    )
    lines.append("5 noisy voxels of each of 10 subjects that share 5 components")
    return [*lines, *(scores.line() for scores in sharing_scores(Simulation(draws, voxels=5)))]
