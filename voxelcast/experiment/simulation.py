"""Simulate a dataset whose responses are driven by chosen layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.progress import Progress
from voxelcast.datasets.formats.simulated import write_simulation
from voxelcast.datasets.simulation.plan import Driver, SimulationPlan
from voxelcast.execution.machine import available_cores
from voxelcast.experiment.steps.extract import network_of
from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus

_ENERGY, _RESNET = "voxelcast/motion_energy", "torchvision/resnet18"
_MOST_THREADS = 8  # that draw a video each, in half a gigabyte

DEFAULT_DRIVERS: dict[str, Driver] = {
    "V1": (_ENERGY, "static.1"),
    "V2": (_ENERGY, "static.2"),
    "V3": (_ENERGY, "static.3"),
    "V4": (_ENERGY, "colour"),
    "LOC": (_RESNET, "maxpool"),
    "EBA": (_ENERGY, "motion.4"),
    "FFA": (_RESNET, "layer4"),
    "STS": (_ENERGY, "motion.3"),
    "PPA": (_ENERGY, "static.5"),
}
"""What drives each ROI of the mini track where nothing else is said."""


def driving_networks(
    drivers: Mapping[str, Driver], weights: str = "random", input_size: int = 64
) -> list[NetworkSettings]:
    """Say how the networks that drive ROIs are loaded, where they are not built in."""
    names = sorted({name for name, _ in drivers.values() if not name.startswith("voxelcast/")})
    return [NetworkSettings(name, ("*",), weights, input_size=input_size) for name in names]


def simulate(
    root: Path,
    plan: SimulationPlan,
    networks: Sequence[NetworkSettings],
    *,
    sampling: FrameSampling,
    seed: int,
    progress: Progress,
) -> None:
    """Write videos, look at them with the driving networks, and write responses in the Algonauts 2021 layout.

    ``root`` goes on where an interrupted call was; one that holds another simulation is refused by a StoreError.
    ``networks`` say how each network that drives an ROI is loaded (their ``layers`` are replaced by the driving ones),
    ``sampling`` which frames drive the responses, ``seed`` is that of random weights.
    """
    known = {network.name: network for network in networks}
    layers_of: dict[str, list[str]] = {}
    for name, layer in sorted({plan.drivers[roi] for roi in plan.rois}):
        layers_of.setdefault(name, []).append(layer)
    drivers = {}
    for name, layers in layers_of.items():
        settings = known.get(name, NetworkSettings(name=name, layers=tuple(layers)))
        drivers[name] = replace(settings, layers=tuple(layers))
        network_of(drivers[name], seed, "cpu")  # an unknown network or layer is reported before a video is written

    def extract_drivers(stimuli: tuple[Stimulus, ...], needed: frozenset[Driver]) -> Mapping[Driver, NDArray[Any]]:
        from voxelcast.networks.extract import StimulusFeatures, extract

        features: dict[Driver, NDArray[Any]] = {}
        for name in sorted({name for name, _ in needed}):
            progress.start(f"driving features of {name}", len(stimuli), "stimulus")
            rows: list[Mapping[str, NDArray[Any]]] = []
            network = network_of(drivers[name], seed, "cpu")
            for outcome in extract(network, stimuli, ExtractionSettings(sampling), workers=available_cores()):
                assert isinstance(outcome, StimulusFeatures)  # on_broken="stop": nothing else comes
                rows.append(outcome.features)
                progress.advance()
            progress.finish()
            features |= {(name, layer): np.stack([row[layer] for row in rows]) for layer in layers_of[name]}
        return features

    threads = min(available_cores(), _MOST_THREADS)
    write_simulation(root, plan, extract_drivers, progress=progress, threads=threads)
