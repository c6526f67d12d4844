"""From a profile to the engine it describes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from voxelcast.core.checks import optional_package
from voxelcast.core.errors import ConfigError
from voxelcast.execution.bucket import fetch_folder, send_folder
from voxelcast.execution.engine import Engine
from voxelcast.execution.profile import GoogleProfile, LocalProfile, Profile
from voxelcast.execution.workers import Workers


def open_engine(
    profile: Profile, n_local: int, output: Path, note: Callable[[str], None], gpus: int = 0
) -> AbstractContextManager[Engine]:
    """Open the engine of a profile; when the block ends, everything it started is ended.

    A local profile has ``n_local`` processes, unless it says how many, and uses ``gpus`` GPUs. The engine notes in
    ``output``, the folder of the run's results, what it started; ``note`` is told what the user may want to know.
    """
    if isinstance(profile, LocalProfile):
        return Workers(profile.workers or n_local, gpus)
    if isinstance(profile, GoogleProfile):
        _require("dask_cloudprovider.gcp", "google")
        from voxelcast.execution.google import GoogleEngine

        return GoogleEngine(profile, output, note)
    _require("dask_jobqueue", "cluster")
    from voxelcast.execution.batch_system import BatchSystemEngine

    return BatchSystemEngine(profile, output, note)


def worker_slots(profile: Profile) -> int | None:
    """Return how many steps run side by side on the CPU workers; None where the profile does not say."""
    if isinstance(profile, LocalProfile):
        return profile.workers
    if isinstance(profile, GoogleProfile):
        return profile.workers.machines
    return profile.workers.jobs * profile.workers.processes


def worker_device(profile: Profile, asked: str, setting: str = "compute.device=") -> str:
    """Return the device on which steps extract features; ``setting`` is how the user asks for one.

    Raises ConfigError if a GPU is asked for and the profile has none.
    """
    if isinstance(profile, LocalProfile):
        return asked
    if profile.of("gpu").gpus:
        return "cuda"
    if asked != "cpu":
        raise ConfigError(
            f"{setting}{asked} is asked for but the profile has no workers with GPUs; "
            f"add gpu_workers with gpus: 1 to the profile, or set {setting}cpu"
        )
    return "cpu"


def fetch_inputs(profile: Profile, note: Callable[[str], None]) -> None:
    """Copy what is new in the profile's bucket of inputs, if it has one, into its shared folder."""
    if isinstance(profile, GoogleProfile) and profile.bucket_inputs:
        target = profile.shared_folder / profile.bucket_inputs.rstrip("/").rpartition("/")[2]
        n = fetch_folder(profile.bucket_inputs, target)
        note(f"google: {n} files copied from {profile.bucket_inputs} to {target}")


def send_results(profile: Profile, output: Path, note: Callable[[str], None]) -> None:
    """Copy a run's results, without its steps, to the profile's bucket of results, if it has one."""
    if isinstance(profile, GoogleProfile) and profile.bucket_results:
        target = f"{profile.bucket_results.rstrip('/')}/{output.name}"
        n = send_folder(output, target, without=frozenset({"steps", ".lock"}))
        note(f"google: {n} files copied to {target}")


def _require(module: str, extra: str) -> None:
    name = module.split(".")[0]
    optional_package(module, f"package {name} is not installed; install it with pip install 'voxelcast[{extra}]'")
