"""The cluster config of 2021 (MLE-Toolbox): a grid for the experiment, and a profile of where it runs."""

from __future__ import annotations

import re
from typing import Any

from voxelcast.core.errors import ConfigError
from voxelcast.import_2021.draft import Draft, part

_GB_PER_CORE = 4
_META = {
    "project_name": "results go to outputs/NAME",
    "experiment_type": "a grid over subjects and ROIs is one experiment",
    "base_train_fname": "voxelcast run is the only script",
    "base_train_config": "give the train config on the command line",
    "experiment_dir": "results go to outputs/NAME, or where voxelcast run --output says",
}
_JOB = {
    "job_name": "jobs are named by the experiment",
    "log_file": "logs go to shared_folder/logs",
    "err_file": "logs go to shared_folder/logs",
    "env_name": "workers use the Python that runs voxelcast run",
    "num_gpus": "none are asked for",
}
_GRID_KEYS = ("subject_id", "roi_type")


def import_cluster(raw: dict[str, Any], source: str, scheduler: str) -> tuple[Draft, dict[str, list[str]]]:
    """Turn a cluster config into a profile, and return its grid too.

    Parameters
    ----------
    raw : dict
    source : str
        The file's name, for messages.
    scheduler : {"slurm", "grid-engine"}
        Which the file does not say.

    Returns
    -------
    draft : Draft
        Settings of a profile.
    grid : dict from str to list of str
        ``subject_id`` and ``roi_type`` where the grid has them; ``sampling_rate`` where features are made with one.

    Raises
    ------
    ConfigError
        If a value is of the wrong type.
    """
    draft = Draft(settings={"scheduler": scheduler, "shared_folder": "~/voxelcast"})
    draft.comment("shared_folder", "Job logs; all machines must see it.")
    for key, value in part(raw, "meta_job_args", source).items():
        _drop_or_unknown(draft, "meta_job_args", key, value, _META)
    grid, jobs = _search(draft, part(raw, "param_search_args", source), source)
    draft.settings["workers"] = _workers(
        draft, part(raw, "single_job_args", source), "single_job_args", jobs, scheduler
    )
    draft.comment(
        "workers",
        f"2021's file does not say how much memory: {_GB_PER_CORE} GB for each core. A job runs many steps, one "
        "after the other on each core, so fewer jobs may do.",
    )
    before = part(raw, "pre_processing_args", source)
    if before:
        grid.update(_preprocessing(draft, before, source, scheduler))
    known = ("meta_job_args", "param_search_args", "single_job_args", "pre_processing_args")
    for key in (key for key in raw if key not in known):
        draft.unknown(key, raw[key])
    return draft, grid


def _drop_or_unknown(draft: Draft, section: str, key: str, value: object, reasons: dict[str, str]) -> None:
    if key in reasons:
        draft.dropped(f"{section}.{key}", value, reasons[key])
    else:
        draft.unknown(f"{section}.{key}", value)


def _search(draft: Draft, search: dict[str, Any], source: str) -> tuple[dict[str, list[str]], int]:
    where = "param_search_args"
    grid: dict[str, list[str]] = {}
    jobs = 10
    for key, value in search.items():
        if key == "search_logging":
            draft.dropped(f"{where}.{key}", value, "what is recorded is always the same: docs/results.md")
        elif key == "search_resources":
            jobs = _number(part(search, key, source), "num_evals_per_batch", 10)
            draft.became(f"{where}.{key}.num_evals_per_batch", jobs, f"workers.jobs: {jobs}")
            for other in (name for name in value if name != "num_evals_per_batch"):
                reasons = {
                    "num_search_batches": "steps are handed out as jobs become free",
                    "num_seeds_per_eval": "the same seed gives the same result; set seed to have another",
                }
                _drop_or_unknown(draft, f"{where}.{key}", other, value[other], reasons)
        elif key == "search_config":
            grid = _grid(draft, part(search, key, source), source)
        else:
            draft.unknown(f"{where}.{key}", value)
    return grid, jobs


def _grid(draft: Draft, config: dict[str, Any], source: str) -> dict[str, list[str]]:
    where = "param_search_args.search_config"
    grid: dict[str, list[str]] = {}
    for key in (key for key in config if key != "search_params"):
        reasons = dict.fromkeys(("search_type", "search_schedule"), "all subjects and ROIs are one experiment")
        _drop_or_unknown(draft, where, key, config[key], reasons)
    for kind, names in part(config, "search_params", source).items():
        for name, values in names.items() if isinstance(names, dict) else ():
            full = f"{where}.search_params.{kind}.{name}"
            if name not in _GRID_KEYS or kind != "categorical":
                draft.dropped(
                    full, values, "only subjects and ROIs can be a grid; run it once for each value: KEY=VALUE"
                )
            elif not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
                raise ConfigError(f"{source}: {full} must be a list of names; got {values!r}")
            else:
                grid[name] = values
                setting = "dataset.subjects" if name == "subject_id" else "dataset.rois (WB: dataset.track)"
                draft.became(full, ", ".join(values), f"{setting} of the experiment")
    return grid


def _workers(draft: Draft, job: dict[str, Any], where: str, jobs: int, scheduler: str) -> dict[str, Any]:
    cores = _number(job, "num_logical_cores", 1)
    gpus = _number(job, "num_gpus", 0, least=0)
    memory = f"{_GB_PER_CORE * cores}GB"
    time = job.get("time_per_job", "05:00:00")
    if not isinstance(time, str) or not re.fullmatch(r"\d+:\d\d:\d\d", time):
        raise ConfigError(f"{where}.time_per_job must be hours:minutes:seconds in quotes; got {time!r}")
    workers: dict[str, Any] = {"jobs": jobs, "cores": cores, "memory": memory, "time": time}
    if gpus:
        workers["gpus"] = gpus
        # Grid Engine counts GPUs for each core of a job.
        workers["cores"] = 1 if scheduler == "grid-engine" else cores
    for key, value in job.items():
        full = f"{where}.{key}"
        if key == "num_logical_cores":
            draft.became(full, value, f"cores: {workers['cores']}")
        elif key == "num_gpus" and gpus:
            draft.became(full, value, f"gpus: {gpus}")
        elif key == "time_per_job":
            draft.became(full, value, f"time: {time} (hours:minutes:seconds)")
        elif key == "partition":
            workers["queue"] = value
            draft.became(full, value, f"queue: {value}")
        elif key in ("exclude_nodes", "exlcude_nodes"):  # the second is so in one of the 2021 files
            workers["directives"] = [_exclusion(value, full, scheduler)]
            draft.became(full, value, f"directives: {workers['directives'][0]}")
        else:
            _drop_or_unknown(draft, where, key, value, _JOB)
    return workers


def _exclusion(nodes: object, name: str, scheduler: str) -> str:
    if not isinstance(nodes, list) or not nodes or not all(re.fullmatch(r"[\w.-]+", str(node)) for node in nodes):
        raise ConfigError(f"{name} must be a list of machines; got {nodes!r}")
    if scheduler == "slurm":
        return f"--exclude={','.join(map(str, nodes))}"
    return f"-l hostname=!({'|'.join(map(str, nodes))})"


def _preprocessing(draft: Draft, before: dict[str, Any], source: str, scheduler: str) -> dict[str, list[str]]:
    """Jobs that made features in 2021: workers with GPUs, where those had some."""
    where = "pre_processing_args"
    rate: dict[str, list[str]] = {}
    for key, value in before.items():
        if key == "processing_fname":
            draft.dropped(f"{where}.{key}", value, "voxelcast run extracts features by itself")
        elif key == "processing_job_args":
            job = part(before, key, source)
            if _number(job, "num_gpus", 0, least=0):
                draft.settings["gpu_workers"] = _workers(draft, job, f"{where}.{key}", 1, scheduler)
                draft.comment("gpu_workers", "Features are extracted on these.")
            else:
                draft.dropped(f"{where}.{key}", job, "features are extracted on the same workers")
        elif key == "extra_cmd_line_input":
            for name, given in part(before, key, source).items():
                full = f"{where}.{key}.{name}"
                if name == "sampling_rate":
                    rate = {"sampling_rate": [str(_number(part(before, key, source), name, 2))]}
                    draft.became(full, given, "frames.every, where the train config does not say")
                elif name in ("model_type", "trafo_type", "num_components", "filter_name"):
                    draft.dropped(full, given, "the train config says it")
                else:
                    draft.unknown(full, given)
        else:
            draft.unknown(f"{where}.{key}", value)
    return rate


def _number(values: dict[str, Any], key: str, default: int, least: int = 1) -> int:
    value = values.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{key} must be a whole number of at least {least}; got {value!r}")
    return value
