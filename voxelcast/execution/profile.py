"""Profiles: where work runs beyond this machine, as settings in a YAML file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from voxelcast.core.checks import check_option
from voxelcast.core.errors import ConfigError, MissingFileError
from voxelcast.core.validation import first_problem
from voxelcast.execution.engine import Kind
from voxelcast.store.readers.plain import read_yaml


def _like(pattern: str, what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {what}")
        return value

    return AfterValidator(check)


Size = Annotated[str, _like(r"\d+(\.\d+)? ?(MB|GB|TB|MiB|GiB|TiB)", "a number and a unit, e.g. 8GB")]
Time = Annotated[str, _like(r"(\d+-)?\d+:\d\d:\d\d", 'hours:minutes:seconds in quotes, e.g. "04:00:00"')]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class JobWorkers(_Strict):
    """Workers that are jobs of a scheduler: how many, and what each asks for.

    A job without GPUs runs one step on each of its cores, one with GPUs one step on each of its GPUs.
    """

    jobs: int = Field(ge=1)
    cores: int = Field(default=1, ge=1)
    memory: Size
    time: Time
    gpus: int = Field(default=0, ge=0)
    queue: str | None = None
    account: str | None = None
    directives: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()

    @property
    def processes(self) -> int:
        """Steps that run side by side in one job."""
        return self.gpus or self.cores


class _ClusterProfile(_Strict):
    workers: JobWorkers
    gpu_workers: JobWorkers | None = None
    shared_folder: Path
    python: str | None = None
    interface: str | None = None
    local_folder: str = "/tmp"
    retries: int = Field(default=2, ge=0)

    def of(self, kind: Kind) -> JobWorkers:
        """Return the workers of a kind."""
        return (self.gpu_workers or self.workers) if kind == "gpu" else self.workers


class SlurmProfile(_ClusterProfile):
    """Slurm: ``queue`` is the partition."""

    scheduler: Literal["slurm"]


class GridEngineProfile(_ClusterProfile):
    """Grid Engine, whose sites differ in how memory, GPUs and several cores are asked for."""

    scheduler: Literal["grid-engine"]
    parallel_environment: str = "smp"
    memory_resource: str | None = None
    gpu_resource: str = "gpu"

    @model_validator(mode="after")
    def _whole_gpus_per_core(self) -> GridEngineProfile:
        for workers in (self.workers, self.gpu_workers):
            if workers is not None and workers.gpus % workers.cores and workers.gpus:
                raise ValueError(
                    "gpus must be a multiple of cores, because Grid Engine counts GPUs for each core; set cores: 1"
                )
        return self


class MachineWorkers(_Strict):
    """Workers that are virtual machines: each runs one step at a time, so many small ones serve better than few."""

    machines: int = Field(ge=1)
    machine_type: str = "n2-standard-2"
    memory: Size
    gpus: int = Field(default=0, ge=0)
    gpu_type: str | None = None
    preemptible: bool = False


class GoogleProfile(_Strict):
    """Google Cloud: virtual machines that run a container, and a shared folder mounted on all of them."""

    scheduler: Literal["google"]
    project: str
    zone: str
    network: str = "default"
    image: str
    source_image: str = "projects/ubuntu-os-cloud/global/images/family/ubuntu-2204-lts"
    scheduler_machine_type: str = "e2-standard-2"
    disk_gb: int = Field(default=50, ge=10)
    service_account: str = "default"
    labels: dict[str, str] = {}
    public_addresses: bool = True
    setup: tuple[str, ...] = ()
    shared_folder: Path
    bucket_inputs: str | None = None
    bucket_results: str | None = None
    workers: MachineWorkers
    gpu_workers: MachineWorkers | None = None
    retries: int = Field(default=2, ge=0)

    def of(self, kind: Kind) -> MachineWorkers:
        """Return the workers of a kind."""
        return (self.gpu_workers or self.workers) if kind == "gpu" else self.workers


class LocalProfile(_Strict):
    """Processes on this machine."""

    scheduler: Literal["local"]
    workers: int | None = Field(default=None, ge=1)
    retries: int = Field(default=2, ge=0)


Profile = LocalProfile | SlurmProfile | GridEngineProfile | GoogleProfile
THIS_MACHINE = LocalProfile(scheduler="local")
_MODELS: dict[str, type[Profile]] = {
    "local": LocalProfile,
    "slurm": SlurmProfile,
    "grid-engine": GridEngineProfile,
    "google": GoogleProfile,
}
SCHEDULERS = tuple(_MODELS)


def profiles_folder() -> Path:
    """Folder of the profiles that can be called by name from anywhere."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "voxelcast"


def profile_template(scheduler: str) -> str:
    """Return a commented profile; raises OptionError if there is no such scheduler."""
    check_option("scheduler", scheduler, SCHEDULERS)
    return (Path(__file__).parent / "templates" / f"{scheduler}.yaml").read_text()


def find_profile(name: str) -> Path:
    """Return a profile's file, which must exist: a path, or a name for ``NAME.yaml`` here or in `profiles_folder`."""
    candidates = [Path(name), Path(f"{name}.yaml"), profiles_folder() / f"{name}.yaml"]
    if found := next(filter(Path.is_file, candidates), None):
        return found
    raise MissingFileError(
        f"profile {name!r} does not exist; looked for {', '.join(map(str, candidates))}. "
        f"Write one: voxelcast execution init {'|'.join(SCHEDULERS)} --output {name if '.' in name else name + '.yaml'}"
    )


def chosen_profile(name: str | None) -> Profile:
    """Read the profile of a file or name, as ``--on`` gives it; None stands for this machine."""
    return THIS_MACHINE if name is None else load_profile(find_profile(name))


def load_profile(path: Path) -> Profile:
    """Read a profile; raise ConfigError if it is no YAML mapping, or a setting is unknown, missing or not allowed."""
    return parse_profile(read_yaml(path, "profile"), str(path))


def parse_profile(raw: object, source: str) -> Profile:
    """Check the settings of a profile; raise ConfigError with the first thing that is wrong."""
    if not isinstance(raw, dict) or raw.get("scheduler") not in _MODELS:
        got = raw.get("scheduler") if isinstance(raw, dict) else type(raw).__name__
        raise ConfigError(f"{source}: scheduler must be one of {', '.join(_MODELS)}; got {got!r}")
    model = _MODELS[raw["scheduler"]]
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        whole = f"voxelcast execution init {raw['scheduler']} shows a whole profile"
        raise ConfigError(f"{source}: {first_problem(error.errors(), model, whole=whole)}") from error
