"""What searching, fitting and dividing variance cost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from voxelcast.core.cost import Cost
from voxelcast.core.seeds import generator
from voxelcast.encoders.banded_ridge import banded_ridge_seconds
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.registry import get_encoder
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.experiment.steps.compress import excluded_folds
from voxelcast.search.base import GivenFeatures
from voxelcast.search.memory import FitSize, fit_bytes
from voxelcast.search.pair import search_pair
from voxelcast.search.settings import EnsembleSettings, PairSettings, SelectionSettings

if TYPE_CHECKING:
    from voxelcast.experiment.costs import NetworkEstimate

_FEW_SEARCHES = 16
_MOST_MEASURED = (1000, 100, 500)
_FOLDS_MEASURED = 5
"""Stimuli, features and voxels of a search that is timed for an estimate, and its folds, at most."""
_SCORED, _SCORING = 0.06, 6000.0
"""Seconds and operations for each response in which nested scores, their intervals and what is written are made."""
_PROPOSAL = {"random": 3e-4, "grid": 0.0, "tpe": 1.5e-3, "gp": 0.1}
"""Seconds that making a proposal takes."""


@dataclass(frozen=True)
class SearchPace:
    """What exact searches take: ``overhead`` seconds an evaluation, and ``stretch`` times what their operations say."""

    overhead: float = 0.0
    stretch: float = 1.0


@dataclass(frozen=True)
class FitEstimate:
    """The work of one subject x ROI: the search, the choice and the fits, counted.

    ``sizes`` has the features of each layer as encoders get them, of all delays; ``n_subjects`` share targets (1: none
    are shared); ``rate`` is in operations per second of one core, ``pace`` is that of exact searches.
    """

    config: ExperimentSettings
    n_train: int
    n_folds: int
    n_voxels: int
    sizes: tuple[int, ...]
    n_subjects: int
    rate: float
    pace: SearchPace = SearchPace()

    def cost(self, n_test: int) -> Cost:
        """Return the seconds on one core, of all partitions into folds, and the bytes that one holds at most."""
        once = self._search() + self.combination() + self._sharing()
        scoring, nested = self.config.significance.permutations * 2.0 + _SCORING, self.config.folds.nested
        work = Cost(scoring * nested * self.n_train * self.n_voxels, once, python=_SCORED) * self.config.folds.repeats
        return work + Cost(memory=self._memory(n_test))

    def _memory(self, n_test: int) -> float:
        config, n, q = self.config, self.n_train, self.n_voxels
        fit = FitSize(
            ProblemSize(n, max(self.sizes), q),
            n_test=n_test,
            n_folds=self.n_folds,
            n_layers=len(self.sizes),
            encoders=tuple(self._encoders),
            fitted_in_folds=config.compressed_in_folds,
            per_voxel=config.selection.per == "voxel",
            ensemble=config.ensemble.method,
            proposals=None if self._exact else max(map(self._trials, self._encoders)),
        )
        banded = n * (n * len(self.sizes) + sum(self.sizes)) if config.ensemble.method == "banded_ridge" else 0
        shared = (self.n_subjects - 1) * n * q + (3 * n * n if self.n_subjects > 1 else 0)
        return sum(fit_bytes(fit).values()) + 8.0 * (banded + shared)

    @cached_property
    def _encoders(self) -> list[Encoder]:
        return [get_encoder(name, 0, self.config.automl) for name in self.config.encoders]

    @property
    def _exact(self) -> bool:
        return self.config.search.method == "exact"

    @property
    def _outer_folds(self) -> int:
        return self.n_folds if self.config.folds.nested else 0

    @property
    def _evaluations(self) -> int:
        """Folds that one proposal is judged on, inside all outer folds."""
        return self.n_folds * max(1, self._outer_folds)

    def _search(self) -> float:
        """Count what scoring the candidates takes."""
        search, n_layers = self.config.search, len(self.sizes)
        each = [self._evaluate(encoder) for encoder in self._encoders]
        if self._exact:
            return self.pace.stretch * sum(each) + self.pace.overhead * n_layers * self._exact_evaluations
        proposing = _PROPOSAL[search.sampler if search.method == "bayes" else search.method] * (1 + self._outer_folds)
        if search.joint:
            # One study, whose proposals are of all layers and encoders by turns.
            return search.trials * (proposing + sum(each) / len(each) / n_layers)
        trials = [self._trials(encoder) for encoder in self._encoders]
        return sum(n * (n_layers * proposing + seconds) for n, seconds in zip(trials, each, strict=True))

    def _trials(self, encoder: Encoder) -> int:
        """Proposals for one layer; an encoder without hyper-parameters is tried once."""
        return self.config.search.trials if encoder.search_space(ProblemSize(self.n_train, 1, 1)) else 1

    def _of_layers(self, seconds: Callable[[ProblemSize], float]) -> float:
        return sum(seconds(ProblemSize(self.n_train, size, self.n_voxels)) for size in self.sizes)

    def _evaluate(self, encoder: Encoder) -> float:
        """Seconds of trying on all layers the whole grid, of which two outer folds share fits, or one proposal."""
        held_out = -(-self.n_train // self.n_folds)
        each = self._of_layers(lambda size: encoder.evaluate_seconds(size, held_out, self.rate, grid=self._exact))
        return each * (self._exact_evaluations if self._exact else self._evaluations)

    @property
    def _exact_evaluations(self) -> float:
        return (self.n_folds + self._evaluations) / 2

    def combination(self) -> float:
        """Count what fitting the models chosen, and weighing layers, takes."""
        ensemble, layers, q = self.config.ensemble, len(self.sizes), self.n_voxels
        outers = 1 + self._outer_folds
        whole = self.config.selection.per == "voxel" or ensemble.method == "stacking"
        used = layers if whole else min(ensemble.top, layers) if ensemble.method == "average" else 1
        # A mixture is compared with the best single candidate, which is fitted as well.
        alone = self._outer_folds if whole or ensemble.method != "none" else 0
        seconds = (outers * used + alone) / layers * self._refit()
        if ensemble.method == "stacking":
            sums = 2.0 * self.n_train * self._evaluations / self.n_folds * q * layers**2
            weights = 5e-5 * (layers + 4) * (q if ensemble.per == "voxel" else 1) * outers
            seconds += self._evaluations * self._refit() + sums / self.rate + weights
        if self._outer_folds and ensemble.method != "banded_ridge":  # again without a fold more, for the interval
            seconds += self._outer_folds * (self.n_folds - 1) * used / layers * self._refit()
        if ensemble.method == "experts":
            members = 1 + len(ensemble.experts)
            sums = 2.0 * self.n_train * self._evaluations / self.n_folds * q * members * (members + max(self.sizes))
            seconds += self._evaluations * self._refit() / layers + sums / self.rate + 5e-5 * (members + 4) * q * outers
        if ensemble.method == "banded_ridge":
            size = ProblemSize(self.n_train, sum(self.sizes), q)
            seconds += outers * banded_ridge_seconds(size, self.n_folds, ensemble.draws, layers, self.rate)
        return seconds

    def _refit(self) -> float:
        """Seconds of fitting and predicting once, on all layers, what was chosen of the one encoder that takes most.

        A layer may be chosen with as many parameters as voxels choose differently.
        """

        def seconds(encoder: Encoder) -> float:
            tried = 1 if self._exact else self._trials(encoder)
            models = 1 if self.config.selection.per == "roi" else min(tried, self.n_voxels)
            return self._of_layers(lambda size: encoder.fit_members_seconds(size, models, self.rate))

        return max(map(seconds, self._encoders))

    def _sharing(self) -> float:
        """Count what estimating the components takes that subjects share, in each training part."""
        if self.n_subjects == 1:
            return 0.0
        n, parts = float(self.n_train), excluded_folds(self.n_folds, nested=self.config.folds.nested, refit=True)
        return len(parts) * (3 * n**3 + 2 * n**2 * self.n_voxels * self.n_subjects) / self.rate


def search_pace(
    config: ExperimentSettings, n_folds: int, largest: ProblemSize, n_searches: int, rate: float
) -> SearchPace:
    """Measure an exact search of one layer of random numbers, a small one and one of about the sizes that are to come.

    ``largest`` has the most stimuli and features, and a typical number of voxels. Nothing is measured for other
    searches, for encoders that are trained in steps, and where all searches take less than the measurement would.
    """
    plain = tuple(name for name in config.encoders if name not in config.learned)
    if config.search.method != "exact" or not plain or n_searches < _FEW_SEARCHES:
        return SearchPace()
    p = min(largest.n_features, _MOST_MEASURED[1])
    folds = min(n_folds, _FOLDS_MEASURED)
    least = max(60, 2 * p, 6 * folds)
    small = ProblemSize(least, p, 20)
    large = ProblemSize(
        max(least, min(largest.n_train, _MOST_MEASURED[0])), p, min(largest.n_voxels, _MOST_MEASURED[2])
    )
    evaluations = (folds + folds * (folds if config.folds.nested else 1)) / 2

    def said(size: ProblemSize) -> float:
        held_out = -(-size.n_train // folds)
        each = (get_encoder(name).evaluate_seconds(size, held_out, rate, grid=True) for name in plain)
        return evaluations * sum(each)

    alone = config.model_copy(update={"ensemble": EnsembleSettings(), "selection": SelectionSettings()})

    def took(size: ProblemSize) -> float:
        each = FitEstimate(alone, size.n_train, folds, size.n_voxels, (size.n_features,), 1, rate)
        return _timed_search(plain, folds, size, config.folds.nested) - each.combination()

    seconds = [took(size) for size in (small, large)]
    more = said(large) - said(small)
    stretch = min(3.0, max(0.02, (seconds[1] - seconds[0]) / more)) if more > 0.2 * said(small) else 1.0
    return SearchPace(max(0.0, seconds[1] - stretch * said(large)) / evaluations, stretch)


@lru_cache(maxsize=8)
def _timed_search(encoders: tuple[str, ...], n_folds: int, size: ProblemSize, nested: bool) -> float:
    """Search one layer of random numbers; return the processor seconds of one thread, once warm."""
    random = generator(0, "search pace")
    X = random.standard_normal((size.n_train, size.n_features))
    Y = random.standard_normal((size.n_train, size.n_voxels))
    fold_ids = np.arange(size.n_train) % n_folds

    def search(rows: int, *, nested: bool) -> None:
        found = [get_encoder(name) for name in encoders]
        settings = PairSettings(nested=nested)
        search_pair(Y[:rows], [GivenFeatures("", "", X[:rows])], found, fold_ids[:rows], settings)

    with threadpool_limits(limits=1):
        search(min(size.n_train, 6 * n_folds), nested=False)
        started = time.process_time()
        search(size.n_train, nested=nested)
        return time.process_time() - started


def partition_cost(plan: Plan, networks: Sequence[NetworkEstimate], n_train: int, q: int) -> Cost:
    """Count what it takes to divide one ROI's variance: four fits per combination and fold, each cross-validated."""
    sizes: Counter[tuple[str, str]] = Counter()
    kept, n_folds = plan.config.compress.kept, plan.n_folds
    for one in networks:
        sizes.update({(one.shown, layer): kept(n_train, size) for layer, size in one.features.items()})
    groups = [sum(sizes[layer] for layer in layers) for layers in plan.layer_groups.values()]
    operations = memory = 0.0
    for chosen in range(1, 2 ** len(groups)):
        together = [size for index, size in enumerate(groups) if chosen >> index & 1]
        draws = plan.config.variance_partitioning.draws if len(together) > 1 else 0
        tries, p = draws + len(together) + 1 if draws else 1, min(sum(together), n_train)
        # Moments, eigenvectors, and the errors of some 25 penalties.
        operations += 4 * n_folds**2 * tries * p * (2.0 * n_train * p + 10.0 * p * p + 50.0 * n_train / n_folds * q)
        memory = 8.0 * (2 * n_train * sum(together) + 3 * p * p + (chosen + 3) * n_train * q)
    return Cost(operations, memory=memory)
