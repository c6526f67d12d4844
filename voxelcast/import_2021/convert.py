"""Configs of the 2021 repository (RobertTLange/algonauts-2021) as an experiment file and an execution profile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from voxelcast.core.checks import check_option
from voxelcast.execution.profile import parse_profile
from voxelcast.experiment.settings_file import parse_config
from voxelcast.import_2021.cluster import import_cluster
from voxelcast.import_2021.draft import Note, read_2021
from voxelcast.import_2021.train import import_train


@dataclass(frozen=True)
class Import2021:
    """The texts of an experiment file and, where a cluster config was given, a profile; and a note for each key."""

    experiment: str
    profile: str | None
    notes: tuple[Note, ...]


def import_2021(
    train: Path, cluster: Path | None = None, *, scheduler: str = "slurm", as_in_2021: bool = False
) -> Import2021:
    """Turn a train config of 2021, and a cluster config if there is one, into files of voxelcast.

    Parameters
    ----------
    train : Path
        JSON with comments: ``train_config``, ``model_config`` or ``net_config``, ``log_config``.
    cluster : Path, optional
        YAML for MLE-Toolbox; its grid over subjects and ROIs becomes part of the experiment.
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
    draft = import_train(read_2021(train), str(train), grid, as_in_2021)
    draft.settings = {"name": train.stem, **draft.settings}
    experiment = draft.to_yaml(f"From {train.name} of 2021. voxelcast run FILE --dry-run checks it and estimates time.")
    parse_config(yaml.safe_load(experiment), str(train))
    return Import2021(experiment, profile, (*draft.notes, *notes))
