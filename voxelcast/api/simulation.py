"""Simulated data sets from Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from voxelcast.core.progress import Progress, python_progress
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.registry import open_dataset
from voxelcast.datasets.simulation.plan import Driver, resize_plan, simulation_preset
from voxelcast.stimuli.sampling import FrameSampling


def simulate(
    root: str | Path,
    preset: Literal["demo", "challenge"] = "demo",
    *,
    subjects: int | None = None,
    voxels: int | None = None,
    drivers: Mapping[str, Driver] | None = None,
    progress: Progress | bool = False,
    **changes: Any,
) -> Dataset:
    """Write real videos and responses with a planted truth, in the layout of the Algonauts Challenge 2021.

    Parameters
    ----------
    root : path
        Folder of the simulation; goes on where an interrupted call was. What was planted lies in ``truth`` there.
    preset : {"demo", "challenge"}
        A small one, or one with the challenge's numbers of subjects, voxels and videos.
    subjects, voxels : int, optional
        Number of subjects, and of voxels of every ROI.
    drivers : mapping of ROI to (network, layer), optional
        What drives the responses of an ROI, where it is not the default (networks of random weights).
    progress : bool or Progress
        Whether a bar shows how far it is.
    **changes
        Fields of `voxelcast.datasets.simulation.plan.SimulationPlan`, such as ``n_train`` and ``n_test``.

    Returns
    -------
    dataset : Dataset

    Raises
    ------
    OptionError, UnknownNameError
        For a size, network or layer that is not possible.
    StoreError
        If the folder holds another simulation.

    Examples
    --------
    >>> import voxelcast as vc
    >>> sizes = {"n_train": 4, "n_test": 2, "seconds": 0.4, "size": 32, "n_components": 2}
    >>> dataset = vc.simulate("sim", subjects=1, voxels=3, **sizes)
    >>> dataset.responses("sub01", "V1").labelled().sizes["voxel"]
    3
    """
    from voxelcast.experiment.simulation import DEFAULT_DRIVERS, driving_networks
    from voxelcast.experiment.simulation import simulate as write

    driven_by = DEFAULT_DRIVERS | dict(drivers or {})
    plan = resize_plan(simulation_preset(preset, driven_by, **changes), subjects, voxels)
    write(
        Path(root),
        plan,
        driving_networks(driven_by),
        sampling=FrameSampling(every=2),
        seed=plan.seed,
        progress=python_progress(progress, "voxelcast.simulate"),
    )
    return open_dataset("simulated", root)
