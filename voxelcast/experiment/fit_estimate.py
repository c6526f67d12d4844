"""How long the search, the choice and the fits of one subject x ROI will take, by counting them.

The seconds and the numbers of operations were measured on one core; they are right within a factor of about three.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from voxelcast.core.cost import Cost
from voxelcast.encoders.banded_ridge import banded_ridge_seconds
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.registry import get_encoder
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.experiment.steps.compress import excluded_folds
from voxelcast.search.memory import FitSize, fit_bytes

# Seconds that making a proposal takes.
_PROPOSAL = {"random": 3e-4, "grid": 0.0, "tpe": 1.5e-3, "gp": 0.1}


@dataclass(frozen=True)
class FitEstimate:
    """The work of one subject x ROI.

    Parameters
    ----------
    config : ExperimentSettings
    n_train, n_folds, n_voxels : int
    sizes : tuple of int
        Features of each layer as encoders get them: of all delays.
    n_subjects : int
        That share targets; 1: none are shared.
    rate : float
        Operations per second of one core.
    """

    config: ExperimentSettings
    n_train: int
    n_folds: int
    n_voxels: int
    sizes: tuple[int, ...]
    n_subjects: int
    rate: float

    def cost(self, n_test: int) -> Cost:
        """Return the seconds on one core, of all partitions into folds, and the memory."""
        return Cost(seconds=self.seconds(), memory=self.memory(n_test))

    def memory(self, n_test: int) -> float:
        """Return the bytes that the fit of one partition into folds holds at most."""
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
            n_resamples=config.interval.resamples,
            proposals=None if config.search.method == "exact" else max(map(self._trials, self._encoders)),
        )
        banded = n * (n * len(self.sizes) + sum(self.sizes)) if config.ensemble.method == "banded_ridge" else 0
        shared = (self.n_subjects - 1) * n * q + (3 * n * n if self.n_subjects > 1 else 0)
        return sum(fit_bytes(fit).values()) + 8.0 * (banded + shared)

    def seconds(self) -> float:
        """Return the seconds on one core, of all partitions into folds."""
        once = self._search() + self._combination() + self._sharing()
        return self.config.folds.repeats * once

    @cached_property
    def _encoders(self) -> list[Encoder]:
        return [get_encoder(name, 0, self.config.automl) for name in self.config.encoders]

    @property
    def _nested(self) -> bool:
        return self.config.folds.nested

    @property
    def _subsets(self) -> int:
        """Training parts: all stimuli, those without each fold, and those without each two."""
        return len(excluded_folds(self.n_folds, nested=self._nested, refit=True))

    @property
    def _evaluations(self) -> int:
        """Folds that one proposal is judged on, inside all outer folds."""
        return self.n_folds * (self.n_folds if self._nested else 1)

    @property
    def _outers(self) -> int:
        return 1 + (self.n_folds if self._nested else 0)

    def _search(self) -> float:
        """Count what scoring the settings takes."""
        exact = self.config.search.method == "exact"
        own = [self._exact(encoder) if exact else self._proposals(encoder) for encoder in self._encoders]
        if exact:
            return sum(own)
        search = self.config.search
        proposing = _PROPOSAL[search.sampler if search.method == "bayes" else search.method] * self._outers
        if search.joint:
            # One study, whose proposals are of all layers and encoders by turns.
            return search.trials * (proposing + sum(own) / len(own) / len(self.sizes))
        searched = sum(self._trials(encoder) for encoder in self._encoders) * len(self.sizes)
        return searched * proposing + sum(
            self._trials(encoder) * each for encoder, each in zip(self._encoders, own, strict=True)
        )

    def _trials(self, encoder: Encoder) -> int:
        """Proposals for one layer; an encoder without hyper-parameters is tried once."""
        return self.config.search.trials if encoder.search_space(ProblemSize(self.n_train, 1, 1)) else 1

    def _of_layers(self, seconds: Callable[[ProblemSize], float]) -> float:
        """Sum over layers."""
        return sum(seconds(ProblemSize(self.n_train, size, self.n_voxels)) for size in self.sizes)

    def _exact(self, encoder: Encoder) -> float:
        """Seconds of trying the whole grid of an encoder on all layers; two outer folds share their fits."""
        held_out = -(-self.n_train // self.n_folds)
        each = self._of_layers(lambda size: encoder.evaluate_seconds(size, held_out, self.rate, grid=True))
        return (self.n_folds + self._evaluations) / 2 * each

    def _proposals(self, encoder: Encoder) -> float:
        """Seconds of trying one set of parameters on all layers; each outer fold does so by itself."""
        held_out = -(-self.n_train // self.n_folds)
        return self._evaluations * self._of_layers(lambda size: encoder.evaluate_seconds(size, held_out, self.rate))

    def _combination(self) -> float:
        """Count what fitting the models chosen, and weighing layers, takes."""
        ensemble, layers = self.config.ensemble, len(self.sizes)
        whole = self.config.selection.per == "voxel" or ensemble.method == "stacking"
        used = layers if whole else min(ensemble.top, layers) if ensemble.method == "average" else 1
        # A mixture is compared with the best single candidate, which is fitted as well.
        alone = self._outers - 1 if whole or ensemble.method != "none" else 0
        seconds = (self._outers * used + alone) / layers * self._refit()
        if ensemble.method == "stacking":
            units = self.n_voxels if ensemble.per == "voxel" else 1
            sums = 2.0 * self.n_train * self._evaluations / self.n_folds * self.n_voxels * layers**2
            weights = 5e-5 * (layers + 4) * units * self._outers
            seconds += self._evaluations * self._refit() + sums / self.rate + weights
        if ensemble.method == "banded_ridge":
            size = ProblemSize(self.n_train, sum(self.sizes), self.n_voxels)
            each = banded_ridge_seconds(size, self.n_folds, ensemble.draws, layers, self.rate)
            seconds += self._outers * each
        return seconds

    def _refit(self) -> float:
        """Seconds of fitting and predicting once, on all layers, what was chosen of the one encoder that takes most."""

        def seconds(encoder: Encoder) -> float:
            return self._of_layers(lambda size: encoder.fit_members_seconds(size, self._models(encoder), self.rate))

        return max(map(seconds, self._encoders))

    def _models(self, encoder: Encoder) -> int:
        """Models that a layer may be chosen with: as many as voxels choose differently."""
        if self.config.selection.per == "roi":
            return 1
        tried = 1 if self.config.search.method == "exact" else self._trials(encoder)
        return min(tried, self.n_voxels)

    def _sharing(self) -> float:
        """Count what estimating the components takes that subjects share."""
        if self.n_subjects == 1:
            return 0.0
        n = float(self.n_train)
        return self._subsets * (3 * n**3 + 2 * n**2 * self.n_voxels * self.n_subjects) / self.rate
