"""How long the search, the choice and the fits of one subject x ROI will take, by counting them.

The seconds and the numbers of operations were measured on one core; they are right within a factor of about three.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from voxelcast.core.cost import Cost
from voxelcast.encoders.registry import get_encoder
from voxelcast.encoders.sample import AnyEncoder, SampleEncoder
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.experiment.steps.compress import excluded_folds
from voxelcast.search.memory import FitSize, fit_bytes

# Seconds that calls take whatever the sizes: of a path, of one proposal in one fold, and of making a proposal.
_PATH, _EVALUATION = 1e-3, 1e-3
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
        size = FitSize(
            n_train=n,
            n_test=n_test,
            n_voxels=q,
            n_features=max(self.sizes),
            n_folds=self.n_folds,
            n_layers=len(self.sizes),
            n_encoders=len(self._encoders),
            n_settings=max(self._n_tried(encoder) for encoder in self._encoders),
            fitted_in_folds=config.compressed_in_folds,
            per_voxel=config.selection.per == "voxel",
            ensemble=config.ensemble.method,
            n_resamples=config.interval.resamples,
        )
        copies = any(isinstance(encoder, SampleEncoder) for encoder in self._encoders)  # of the responses, in each fold
        kernels = len(self.sizes) * n * n if config.ensemble.method == "banded_ridge" else 0
        shared = (self.n_subjects - 1) * n * q + (3 * n * n if self.n_subjects > 1 else 0)
        return sum(fit_bytes(size).values()) + 8.0 * (copies * n * q + kernels + shared)

    def _n_tried(self, encoder: AnyEncoder) -> int:
        """Count the parameters of an encoder whose scores are held for one layer."""
        if self.config.search.method != "exact" or isinstance(encoder, SampleEncoder):
            return self._trials(encoder)
        return len(encoder.settings(self.n_train, max(self.sizes), self.n_voxels))

    def seconds(self) -> float:
        """Return the seconds on one core, of all partitions into folds."""
        once = self._search() + self._combination() + self._sharing()
        return self.config.folds.repeats * once

    @cached_property
    def _encoders(self) -> list[AnyEncoder]:
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

    def _trials(self, encoder: AnyEncoder) -> int:
        """Proposals for one layer; an encoder without hyper-parameters is tried once."""
        return self.config.search.trials if encoder.space(self.n_train, 1, 1) else 1

    def _exact(self, encoder: AnyEncoder) -> float:
        """Seconds of trying all settings of an encoder on all layers; two outer folds share their fits."""
        if isinstance(encoder, SampleEncoder):
            return (self.n_folds + self._evaluations) / 2 * self._samples(encoder)
        # Products of moments, and of scoring some 50 settings.
        products = 2.0 * self.n_train + 100.0 * self.n_train / self.n_folds
        each = _PATH * len(self.sizes) + products * sum(self.sizes) * self.n_voxels / self.rate
        return self._subsets * each

    def _proposals(self, encoder: AnyEncoder) -> float:
        """Seconds of trying one setting of an encoder on all layers; each outer fold does so by itself."""
        if isinstance(encoder, SampleEncoder):
            return self._evaluations * self._samples(encoder)
        fold = self.n_train / self.n_folds
        flops = sum(20.0 * size * self.n_voxels * (size + fold) for size in self.sizes)
        return self._evaluations * (_EVALUATION * len(self.sizes) + flops / self.rate)

    def _samples(self, encoder: SampleEncoder) -> float:
        """Seconds of one fit of each layer."""
        return sum(encoder.time_estimate(self.n_train, size, self.n_voxels) for size in self.sizes)

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
            tries = 1 + (layers + ensemble.draws if ensemble.draws and layers > 1 else 0)
            # Eigenvectors of an n x n kernel, and the errors of some 25 penalties.
            n = self.n_train
            each = n * (12.0 * n**2 + 50.0 * n / self.n_folds * self.n_voxels)
            seconds += self._evaluations * tries * each / self.rate
        return seconds

    def _refit(self) -> float:
        """Seconds of fitting and predicting once, on all layers, what was chosen of the one encoder that takes most."""
        sampled = [self._models(e) * self._samples(e) for e in self._encoders if isinstance(e, SampleEncoder)]
        flops = 2.0 * sum(size * self.n_voxels * (2.0 * size + self.n_train / self.n_folds) for size in self.sizes)
        return max([2 * _PATH * len(self.sizes) + flops / self.rate, *sampled])

    def _models(self, encoder: SampleEncoder) -> int:
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
