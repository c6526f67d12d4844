"""What training encoders and trunks costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

from voxelcast.core.cost import Cost
from voxelcast.encoders.learned.settings import FinetunedSettings
from voxelcast.encoders.learned.trunk import trunk_operations
from voxelcast.encoders.registry import get_encoder
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning.trainings import FRAMES, learned_settings, parts_left_out, source_of
from voxelcast.results.schema import Pair

if TYPE_CHECKING:
    from voxelcast.experiment.costs import NetworkEstimate

_GPU_RATE = 1e13
"""Floating-point operations per second of a GPU that trains trunks."""
_READOUT_RATE, _GPU_PICTURE, _GPU_STEP = 1e14, 3e-5, 4e-4
_CPU_PICTURE, _CPU_STEP = 0.05, 4e-3
"""Operations per second; seconds of a picture forwards and backwards in a small network; seconds of a step besides."""


def training_cost(plan: Plan, n_train: int, voxels: Mapping[Pair, int], rate: float) -> Cost:
    """Estimate the seconds of all trainings, one after the other, on a core of ``rate`` operations a second, or a GPU.

    Counted are the products of the readout, three times a network's forward pass, and what starting a step takes.
    """
    config, total = plan.config, Cost()
    on_gpu = plan.extract_on != "cpu"
    parts = len(parts_left_out(plan.n_folds, nested=config.folds.nested, inner=config.folds.inner))
    partitions = config.folds.repeats * (1 + (config.shuffles if config.control != "none" else 0))
    for encoder, network in product(config.learned, plan.networks):
        settings, tuned = learned_settings(config, encoder), get_encoder(encoder).reads == FRAMES
        source = source_of(network, (), settings.side)
        for q in [sum(voxels.values())] if not tuned else list(voxels.values()):
            readout = 6.0 * sum(c * h * w for c, h, w in source.shapes) * q
            each = readout / (_READOUT_RATE if on_gpu else rate) + tuned * (_GPU_PICTURE if on_gpu else _CPU_PICTURE)
            epochs = settings.seeds * sum(
                one.epochs * (2 if isinstance(one, FinetunedSettings) and one.release == "half" else 1)
                for one in settings.trainings()
            )
            seconds = epochs * (n_train * each + n_train / settings.batch * (_GPU_STEP if on_gpu else _CPU_STEP))
            numbers = sum(c * h * w for c, h, w in source.shapes)
            memory = 2.0 * numbers * n_train + 16.0 * q * sum(c + h * w for c, h, w in source.shapes)
            total += Cost(seconds=seconds * parts * partitions, memory=memory)
    return total


def trunk_cost(plan: Plan, networks: Sequence[NetworkEstimate], voxels: Mapping[Pair, int]) -> Cost:
    """Count what training all trunks takes, for one partition into folds."""
    n_train, n = len(plan.dataset.train_stimuli), len(plan.stimuli)
    fits, total = len(plan.excluded_folds(plan.n_folds, refit=True)), Cost()
    for label, trunk in plan.config.trunks.items():
        p = sum(
            plan.config.compress.kept(n_train, size)
            for one in networks
            for layer, size in one.features.items()
            if (one.shown, layer) in plan.streams[label]
        )
        for members in {tuple(plan.trained_on(trunk, pair)) for pair in voxels}:
            q = sum(voxels[pair] for pair in members)
            operations = trunk_operations(trunk, n_train, p, q)
            memory, disk = 8.0 * (4 * n * p + 4 * n_train * q), 8.0 * (n * min(trunk.width, p) + trunk.width * (p + q))
            on_gpu = plan.extract_on != "cpu" and trunk.kind != "linear"
            work = Cost(seconds=operations / _GPU_RATE) if on_gpu else Cost(operations)
            total += (work + Cost(memory=memory, disk=disk)) * fits
    return total
