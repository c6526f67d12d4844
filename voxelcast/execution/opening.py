"""From a profile to the engine it describes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from voxelcast.core.errors import ConfigError, MissingPackageError
from voxelcast.execution.engine import Engine
from voxelcast.execution.profile import GoogleProfile, LocalProfile, Profile
from voxelcast.execution.workers import Workers


@contextmanager
def open_engine(profile: Profile, n_local: int, output: Path, note: Callable[[str], None]) -> Iterator[Engine]:
    """Open the engine of a profile; when the block ends, everything it started is ended.

    Parameters
    ----------
    profile : Profile
    n_local : int
        Processes on this machine, where the profile is a local one.
    output : Path
        Folder of the run's results, in which the engine notes what it started.
    note : callable
        Told, in a line each, what the user may want to know.
    """
    if isinstance(profile, LocalProfile):
        with Workers(profile.workers or n_local) as workers:
            yield workers
        return
    if isinstance(profile, GoogleProfile):
        _require("dask_cloudprovider.gcp", "google")
        from voxelcast.execution.google import GoogleEngine

        with GoogleEngine(profile, output, note) as machines:
            yield machines
        return
    _require("dask_jobqueue", "cluster")
    from voxelcast.execution.batch_system import BatchSystemEngine

    with BatchSystemEngine(profile, output, note) as jobs:
        yield jobs


def worker_slots(profile: Profile) -> int | None:
    """Return how many steps run side by side on the CPU workers; None where the profile does not say."""
    if isinstance(profile, LocalProfile):
        return profile.workers
    if isinstance(profile, GoogleProfile):
        return profile.workers.machines * profile.workers.processes
    return profile.workers.jobs * profile.workers.processes


def worker_device(profile: Profile, asked: str) -> str:
    """Return the device on which steps extract features.

    Raises
    ------
    ConfigError
        If the experiment asks for a GPU and the profile has none.
    """
    if isinstance(profile, LocalProfile):
        return asked
    if profile.of("gpu").gpus:
        return "cuda"
    if asked != "cpu":
        raise ConfigError(
            f"compute.device is {asked} but the profile has no workers with GPUs; "
            "add gpu_workers with gpus: 1 to the profile, or set compute.device=cpu"
        )
    return "cpu"


def _require(module: str, extra: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"package {module.split('.')[0]} is not installed; install it with pip install 'voxelcast[{extra}]'"
        ) from error
