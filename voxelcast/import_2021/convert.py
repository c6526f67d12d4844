"""Configs of the 2021 repository (RobertTLange/algonauts-2021) as an experiment file and an execution profile."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from voxelcast.core.checks import check_option
from voxelcast.execution.profile import parse_profile
from voxelcast.experiment.settings_file import parse_config
from voxelcast.import_2021.cluster import SWEPT, import_cluster
from voxelcast.import_2021.draft import Note, read_2021
from voxelcast.import_2021.train import import_train


@dataclass(frozen=True)
class Import2021:
    """The texts of an experiment file and, where a cluster config was given, a profile; and a note for each key.

    ``swept`` has what ``voxelcast sweep`` takes, where the grid goes through more than subjects and ROIs.
    """

    experiment: str
    profile: str | None
    notes: tuple[Note, ...]
    swept: tuple[str, ...] = ()


def import_2021(
    train: Path, cluster: Path | None = None, *, scheduler: str = "slurm", as_in_2021: bool = False
) -> Import2021:
    """Turn a train config of 2021, and a cluster config if there is one, into files of voxelcast.

    Parameters
    ----------
    train : Path
        JSON with comments: ``train_config``, ``model_config`` or ``net_config``, ``log_config``.
    cluster : Path, optional
        YAML for MLE-Toolbox; its grid over subjects and ROIs becomes part of the experiment, that over
        networks, encoders, compressions and pools a sweep.
    scheduler : {"slurm", "grid-engine"}
        Of the profile; the cluster config does not say.
    as_in_2021 : bool
        Repeat what the 2021 code did, as far as that is possible: compression fitted once, layers chosen by the
        pooled correlation, no nested folds, BOLD kernels that are means.

    Raises
    ------
    MissingFileError, ConfigError, OptionError
        If a file does not exist or cannot be understood.
    """
    check_option("scheduler", scheduler, ("slurm", "grid-engine"))
    notes: list[Note] = []
    grid: dict[str, list[str]] = {}
    profile = None
    if cluster is not None:
        draft, grid = import_cluster(read_2021(cluster), str(cluster), scheduler)
        profile = draft.to_yaml(f"From {cluster.name} of 2021. Fill it in, then: voxelcast execution check PROFILE")
        parse_profile(yaml.safe_load(profile), str(cluster))
        notes = draft.notes
    lists = {name: grid[name] for name in SWEPT if name in grid}
    raw = _with(read_2021(train), {name: values[0] for name, values in lists.items()})
    draft = import_train(raw, str(train), grid, as_in_2021)
    swept = []
    for name, values in lists.items():
        each = [import_train(_with(raw, {name: one}), str(train), grid, as_in_2021) for one in values]
        found = [one.settings[SWEPT[name]] for one in each]
        shown = [one[0] if isinstance(one, list) and len(one) == 1 else one for one in found]
        swept.append(
            f"{SWEPT[name]}={yaml.safe_dump(shown, default_flow_style=True, sort_keys=False, width=math.inf).strip()}"
        )
    draft.settings = {"name": train.stem, **draft.settings}
    experiment = draft.to_yaml(f"From {train.name} of 2021. voxelcast run FILE --dry-run checks it and estimates time.")
    parse_config(yaml.safe_load(experiment), str(train))
    return Import2021(experiment, profile, (*draft.notes, *notes), tuple(swept))


def _with(raw: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    """Return a train config with other values of keys of `SWEPT`."""
    changed = deepcopy(raw)
    for name, value in values.items():
        model = "net_config" if "net_config" in raw and "model_config" not in raw else "model_config"
        changed.setdefault(model if name == "encoding_model" else "train_config", {})[name] = value
    return changed
