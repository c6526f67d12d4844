"""The cluster config of 2021 (MLE-Toolbox): a grid for the experiment, and a profile of where it runs."""

from __future__ import annotations

import re
from typing import Any, Final

from voxelcast.core.errors import ConfigError
from voxelcast.import_2021.draft import Draft, Section

_GB_PER_CORE = 4
_META = {
    "project_name": "results go to outputs/NAME",
    "experiment_type": "a grid over subjects and ROIs is one experiment",
    "base_train_fname": "voxelcast run is the only script",
    "base_train_config": "give the train config on the command line",
    "experiment_dir": "results go to outputs/NAME, or where voxelcast run --output says",
}
_RESOURCES = {
    "num_search_batches": "steps are handed out as jobs become free",
    "num_seeds_per_eval": "the same seed gives the same result; set seed to have another",
}
_JOB = {
    "job_name": "jobs are named by the experiment",
    "log_file": "logs go to shared_folder/logs",
    "err_file": "logs go to shared_folder/logs",
    "env_name": "workers use the Python that runs voxelcast run",
    "num_gpus": "none are asked for",
}
_EXTRACTION = dict.fromkeys(("model_type", "trafo_type", "num_components", "filter_name"), "the train config says it")
_GRID = {"subject_id": "dataset.subjects", "roi_type": "dataset.rois (WB: dataset.track)"}
SWEPT: Final = {
    "feature_model": "networks",
    "encoding_model": "encoders",
    "dim_reduction": "compress",
    "filter_type": "pool",
}
"""Keys of the train config that a grid may go through besides, and the setting that each decides."""


def import_cluster(raw: dict[str, Any], source: str, scheduler: str) -> tuple[Draft, dict[str, list[str]]]:
    """Turn a cluster config, read from the file ``source``, into a profile; raise ConfigError for a wrong type.

    Returns
    -------
    draft : Draft
        Settings of a profile.
    grid : dict of str to list of str
        ``subject_id``, ``roi_type`` and keys of `SWEPT` where the grid has them; ``sampling_rate`` where features are
        made with one.
    """
    draft = Draft(source, {"scheduler": scheduler, "shared_folder": "~/voxelcast"})
    whole = Section(draft, raw)
    whole.comment("shared_folder", "Job logs; all machines must see it.")
    whole.part("meta_job_args").rest(_META)
    search = whole.part("param_search_args")
    resources = search.part("search_resources")
    jobs = resources.number("num_evals_per_batch", 10)
    resources.became("num_evals_per_batch", f"workers.jobs: {jobs}")
    resources.rest(_RESOURCES)
    grid = _grid(search.part("search_config"))
    search.rest({"search_logging": "what is recorded is always the same: docs/results.md"})
    draft.settings["workers"] = _workers(whole.part("single_job_args"), jobs, scheduler)
    whole.comment(
        "workers",
        f"2021's file does not say how much memory: {_GB_PER_CORE} GB for each core. A job runs many steps, one "
        "after the other on each core, so fewer jobs may do.",
    )
    grid |= _extraction(whole.part("pre_processing_args"), scheduler)
    whole.rest()
    return draft, grid


def _grid(config: Section) -> dict[str, list[str]]:
    grid: dict[str, list[str]] = {}
    params = config.part("search_params")
    for kind, names in params.values.items():
        for name, values in names.items() if isinstance(names, dict) else ():
            key = f"{kind}.{name}"
            section = Section(config.draft, {key: values}, params.name)
            if name not in (*_GRID, *SWEPT) or kind != "categorical":
                section.dropped(
                    key, "no grid is made of it; voxelcast sweep takes a list of any setting: KEY=[VALUE, ...]"
                )
            elif not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
                raise ConfigError(f"{config.draft.source}: {section.path(key)} must be a list of names; got {values!r}")
            else:
                grid[name] = values
                section.became(
                    key, f"{_GRID[name]} of the experiment" if name in _GRID else f"{SWEPT[name]} of a sweep"
                )
    config.rest(dict.fromkeys(("search_type", "search_schedule"), "all subjects and ROIs are one experiment"))
    return grid


def _workers(job: Section, jobs: int, scheduler: str) -> dict[str, Any]:
    cores, gpus = job.number("num_logical_cores", 1), job.number("num_gpus", 0, least=0)
    time = job.values.get("time_per_job", "05:00:00")
    if not isinstance(time, str) or not re.fullmatch(r"\d+:\d\d:\d\d", time):
        raise ConfigError(f"{job.path('time_per_job')} must be hours:minutes:seconds in quotes; got {time!r}")
    # Grid Engine counts GPUs for each core of a job.
    asked = 1 if gpus and scheduler == "grid-engine" else cores
    workers: dict[str, Any] = {"jobs": jobs, "cores": asked, "memory": f"{_GB_PER_CORE * cores}GB", "time": time}
    job.became("num_logical_cores", f"cores: {asked}")
    job.became("time_per_job", f"time: {time} (hours:minutes:seconds)")
    if gpus:
        workers["gpus"] = gpus
        job.became("num_gpus", f"gpus: {gpus}")
    if "partition" in job.values:
        workers["queue"] = job.values["partition"]
        job.became("partition", f"queue: {workers['queue']}")
    for key in ("exclude_nodes", "exlcude_nodes"):  # the second is so in one of the 2021 files
        if key in job.values:
            workers["directives"] = [_exclusion(job.values[key], job.path(key), scheduler)]
            names = ", ".join(map(str, job.values[key]))
            said = f"directives: {names} left out on 2021's cluster; take out what is no machine here"
            if said not in job.draft.comments.get("workers", []):
                job.comment(
                    "workers", said + (": Slurm refuses names it does not know." if scheduler == "slurm" else ".")
                )
            job.became(key, f"directives: {workers['directives'][0]}")
    job.rest(_JOB)
    return workers


def _exclusion(nodes: object, name: str, scheduler: str) -> str:
    if not isinstance(nodes, list) or not nodes or not all(re.fullmatch(r"[\w.-]+", str(node)) for node in nodes):
        raise ConfigError(f"{name} must be a list of machines; got {nodes!r}")
    if scheduler == "slurm":
        return f"--exclude={','.join(map(str, nodes))}"
    return f"-l hostname=!({'|'.join(map(str, nodes))})"


def _extraction(before: Section, scheduler: str) -> dict[str, list[str]]:
    """Jobs that made features in 2021: workers with GPUs, where those had some."""
    job = before.part("processing_job_args")
    if job.number("num_gpus", 0, least=0):
        before.draft.settings["gpu_workers"] = _workers(job, 1, scheduler)
        before.comment("gpu_workers", "Features are extracted on these.")
    elif job.values:
        before.dropped("processing_job_args", "features are extracted on the same workers")
    given = before.part("extra_cmd_line_input")
    grid = {}
    if "sampling_rate" in given.values:
        grid["sampling_rate"] = [str(given.number("sampling_rate", 2))]
        given.became("sampling_rate", "frames.every, where the train config does not say")
    given.rest(_EXTRACTION)
    before.rest({"processing_fname": "voxelcast run extracts features by itself"})
    return grid
