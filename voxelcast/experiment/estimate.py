"""How long an experiment will take and how much disk, before it is begun.

One stimulus of each network is looked at and one matrix product is timed; the rest is counting. The estimate is meant
to tell a coffee from a night, not to be exact.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from voxelcast.experiment.builders import network_from_json
from voxelcast.experiment.compress_step import excluded_folds
from voxelcast.experiment.extract_step import LoadedNetwork
from voxelcast.experiment.plan import Plan


@dataclass(frozen=True)
class NetworkEstimate:
    """One network: seconds and bytes per stimulus, features per layer."""

    shown: str
    seconds_per_stimulus: float
    features: dict[str, int]


@dataclass(frozen=True)
class Estimate:
    """What lies ahead: stimuli, models, seconds and bytes."""

    n_train: int
    n_test: int
    n_pairs: int
    networks: tuple[NetworkEstimate, ...]
    extract_seconds: float
    compress_seconds: float
    fit_seconds: float
    disk_bytes: int

    def lines(self) -> list[str]:
        """Say it in plain lines."""
        layers = sum(len(network.features) for network in self.networks)
        total = self.extract_seconds + self.compress_seconds + self.fit_seconds
        return [
            f"{self.n_train} training and {self.n_test} held-out stimuli, {self.n_pairs} subject x ROI, {layers} layers",
            f"estimate: {_duration(total)} (extraction {_duration(self.extract_seconds)}, compression "
            f"{_duration(self.compress_seconds)}, fitting {_duration(self.fit_seconds)}), "
            f"{self.disk_bytes / 1e9:.2f} GB of disk for what is not done yet",
        ]


def estimate(plan: Plan, workers: int) -> Estimate:
    """Estimate the work that is not done yet."""
    n_train, n_test = len(plan.dataset.train_stimuli), len(plan.dataset.test_stimuli)
    n = n_train + n_test
    config = plan.config
    extracted = plan.extract_steps(workers)
    networks, extract_seconds, disk = [], 0.0, 0
    for network in plan.networks:
        one = _look(plan, network)
        networks.append(one)
        left = sum(step.size for step in extracted[network.shown] if not plan.store.is_done(step.step_id))
        extract_seconds += one.seconds_per_stimulus * left
        disk += 4 * sum(one.features.values()) * left
    in_folds = config.compress.fit == "folds" and config.compress.method != "none"
    subsets = len(excluded_folds(config.folds.n, nested=config.folds.nested, refit=in_folds))
    sizes = [d for one in networks for d in one.features.values()]
    asked = config.compress.components
    p = [min(d, n_train) if asked == "max" or config.compress.method == "none" else min(asked, d) for d in sizes]
    rate = _flops_per_second() * workers
    grams = subsets if config.compress.scale else 1
    compress = sum(2.0 * n * n * d * grams + subsets * 4.0 * n_train**3 / 3 for d in sizes) / rate
    done_before = all(not left for left in [extract_seconds])
    compress_disk = sum(8 * n * k * subsets for k in p)
    fits = config.folds.n + (config.folds.n * (config.folds.n - 1) // 2 if config.folds.nested else 0)
    voxels = 200 * len(plan.pairs)  # not known before the responses are read: a typical ROI
    fit = sum(fits * (2.0 * n_train * k * voxels + 60.0 * n_train / config.folds.n * k * voxels) for k in p) / rate
    disk += 0 if done_before else compress_disk
    return Estimate(n_train, n_test, len(plan.pairs), tuple(networks), extract_seconds, compress, fit, disk)


def _look(plan: Plan, network: LoadedNetwork) -> NetworkEstimate:
    """Extract one stimulus twice (the first warms up) and time the second."""
    from voxelcast.networks.extract import extract_stimulus

    loaded = network_from_json(network.json, plan.config.compute.device)
    stimulus = plan.stimuli[0]
    extract_stimulus(loaded, stimulus, plan.sampling, plan.config.pool)
    started = time.perf_counter()
    features = extract_stimulus(loaded, stimulus, plan.sampling, plan.config.pool).features
    seconds = time.perf_counter() - started
    return NetworkEstimate(network.shown, seconds, {layer: values.size for layer, values in features.items()})


def _flops_per_second() -> float:
    a = np.ones((600, 600))
    a @ a
    started = time.perf_counter()
    a @ a
    return 2 * 600.0**3 / (time.perf_counter() - started) / 2  # real work reaches about half of the product's rate


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
