"""Running an experiment from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from voxelcast.api.labelled import Rows, feature_rows
from voxelcast.core.checks import check_file_name
from voxelcast.core.progress import Progress, python_progress
from voxelcast.core.settings import content
from voxelcast.results.read import Results, read_results, read_table
from voxelcast.results.schema import DIFFERENCES, LEADERBOARD
from voxelcast.store.atomic import atomic_path
from voxelcast.store.keys import content_key

if TYPE_CHECKING:
    from voxelcast.execution.profile import Profile
    from voxelcast.experiment.settings import ExperimentSettings


def run(
    experiment: str | Path | Mapping[str, Any] | ExperimentSettings,
    output: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    store: str | Path | None = None,
    on: str | Profile | None = None,
    progress: Progress | bool = True,
) -> Results:
    """Run an experiment from stimuli and responses to scores, predictions, submission and report.

    Run again after a kill, it goes on where it was. A script needs no ``if __name__ == "__main__":``.

    Parameters
    ----------
    experiment : path, mapping or ExperimentSettings
        An experiment file, or its settings. Of ``features`` each may be an array as in `voxelcast.FeatureSpace`; one
        without ids is in the sorted order of the stimuli's.
    output : path, optional
        Folder of the results; None: ``outputs/NAME``.
    overrides : mapping, optional
        Settings to change, dotted as on the command line: ``{"search.method": "bayes", "folds.n": 5}``.
    store : path, optional
        Folder of finished steps, to be shared between experiments; None: ``output/steps``.
    on : str or Profile, optional
        Where the steps run: a profile, its file or its name (docs/clusters.md); None: this machine.
    progress : bool or Progress
        Whether bars show how far it is (lines of ``logging`` where there is no terminal).

    Returns
    -------
    results : Results
        What `voxelcast.read_results` reads from the folder: tables of pandas, and ``voxel_scores`` as xarray.

    Raises
    ------
    ConfigError, MissingFileError
        If the experiment cannot be understood or is not there.
    StoreError
        If the output holds another experiment, or another process works in it.
    ExecutionError
        If a subject x ROI failed, after the results of the others were written.
    VoxelcastError
        For whatever else is wrong with settings or data.

    Examples
    --------
    >>> import voxelcast as vc
    >>> results = vc.run(
    ...     {
    ...         "name": "small",
    ...         "dataset": {"kind": "folder", "root": "my_study"},
    ...         "networks": [{"name": "voxelcast/motion_energy", "layers": "colour", "input_size": 64}],
    ...         "compress": {"components": 5},
    ...         "encoders": "ridge",
    ...         "folds": {"n": 3},
    ...     },
    ...     progress=False,
    ... )
    >>> list(results.scores.columns[:2]), results.voxel_scores["pearson_r"].dims
    (['subject', 'roi'], ('voxel',))
    """
    from voxelcast.execution.profile import chosen_profile
    from voxelcast.experiment.plan import output_folder
    from voxelcast.experiment.run import check_output, run_experiment

    experiment, arrays = _saved_arrays(experiment, None if output is None else Path(output))
    config = experiment_settings(experiment, overrides or {})
    folder = output_folder(config, None if output is None else Path(output))
    if arrays:
        check_output(config, folder)
        _save(arrays)
    run_experiment(
        config,
        folder,
        store=None if store is None else Path(store),
        on=chosen_profile(on) if on is None or isinstance(on, str) else on,
        progress=python_progress(progress, "voxelcast.run"),
    )
    return read_results(folder)


@dataclass(frozen=True, eq=False)
class Sweep:
    """What a sweep found: tables of pandas, as in ``leaderboard.csv`` and ``differences.csv`` (docs/results.md).

    ``output`` is its folder, in which each experiment has one: ``voxelcast.read_results(sweep.output / NAME)``.
    """

    output: Path
    leaderboard: pd.DataFrame
    differences: pd.DataFrame


def sweep(
    experiment: str | Path | Mapping[str, Any] | ExperimentSettings,
    axes: Mapping[str, Sequence[Any] | None],
    output: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    store: str | Path | None = None,
    on: str | Profile | None = None,
    progress: Progress | bool = True,
) -> Sweep:
    """Run every combination of some settings, each as `run` does, and compare them; what they share is done once.

    Parameters
    ----------
    experiment, overrides, on, progress
        As for `run`.
    axes : mapping of str to list
        Values of each setting, dotted as on the command line; None: each that the experiment lists. A network that the
        experiment lists may be named, by its label if it has one.
    output : path, optional
        Folder of the sweep; None: ``outputs/NAME``. Each combination has a folder in it; ``leaderboard.html`` compares.
    store : path, optional
        Folder of finished steps; None: ``output/steps``.

    Returns
    -------
    sweep : Sweep

    Raises
    ------
    ExecutionError
        If a combination failed, after the others were done.
    VoxelcastError
        As `run`.

    Examples
    --------
    >>> import voxelcast as vc
    >>> found = vc.sweep(
    ...     {
    ...         "name": "encoders",
    ...         "dataset": {"kind": "folder", "root": "my_study"},
    ...         "networks": [{"name": "voxelcast/motion_energy", "layers": "colour", "input_size": 64}],
    ...         "compress": {"components": 5},
    ...         "folds": {"n": 3},
    ...     },
    ...     {"networks": None, "encoders": ["ridge", "pls"]},
    ...     progress=False,
    ... )
    >>> list(found.leaderboard["experiment"].unique()), list(found.differences["roi"])
    (['motion_energy_ridge', 'motion_energy_pls'], ['all ROIs', 'all'])
    """
    from voxelcast.execution.profile import chosen_profile
    from voxelcast.experiment.sweep import combine, run_sweep

    experiment, arrays = _saved_arrays(experiment, None if output is None else Path(output))
    raw, source = _raw_settings(experiment, overrides or {})
    experiments = combine(raw, axes, source)
    folder = Path("outputs") / str(raw.get("name")) if output is None else Path(output)
    _save(arrays)
    run_sweep(
        experiments,
        folder,
        store=None if store is None else Path(store),
        on=chosen_profile(on) if on is None or isinstance(on, str) else on,
        progress=python_progress(progress, "voxelcast.sweep"),
    )
    return Sweep(folder, read_table(folder / LEADERBOARD.file), read_table(folder / DIFFERENCES.file))


def _save(arrays: Mapping[Path, Rows]) -> None:
    """Write what `_saved_arrays` returned."""
    for path, rows in arrays.items():
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            if rows.ids is None:
                np.savez(file, features=rows.values)
            else:
                np.savez(file, features=rows.values, stimulus_id=np.array(rows.ids))


def _saved_arrays(
    experiment: str | Path | Mapping[str, Any] | ExperimentSettings, output: Path | None
) -> tuple[Any, dict[Path, Rows]]:
    """Let files of the output stand for arrays among the features; return the experiment and what they are to hold.

    A file's name has the hash of the array, so that another array is another experiment.
    """
    features = experiment.get("features") if isinstance(experiment, Mapping) else None
    if not isinstance(experiment, Mapping) or not isinstance(features, Mapping):
        return experiment, {}
    folder = (output or Path("outputs") / str(experiment.get("name"))) / "steps" / "given"
    named, arrays = dict(features), dict[Path, Rows]()
    for name, given in features.items():
        if isinstance(given, str | Path | Mapping) or is_dataclass(given):
            continue
        rows = feature_rows(given, f"features {name}")
        key = content_key(content((rows.ids, rows.values)))
        path = folder / f"{check_file_name(str(name), 'features')}-{key}.npz"
        arrays[path], named[name] = rows, {"file": str(path)} | ({"ids": "sorted"} if rows.ids is None else {})
    return {**experiment, "features": named}, arrays


def experiment_settings(
    experiment: str | Path | Mapping[str, Any] | ExperimentSettings, overrides: Mapping[str, Any]
) -> ExperimentSettings:
    """Check the settings of an experiment, after changes."""
    from voxelcast.experiment.settings import ExperimentSettings
    from voxelcast.experiment.settings_file import parse_config

    if isinstance(experiment, ExperimentSettings) and not overrides:
        return experiment
    return parse_config(*_raw_settings(experiment, overrides))


def _raw_settings(
    experiment: str | Path | Mapping[str, Any] | ExperimentSettings, overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], str]:
    """Return the settings of an experiment, after changes, not checked yet, and what a message calls it."""
    from voxelcast.experiment.run import config_text
    from voxelcast.experiment.settings import ExperimentSettings
    from voxelcast.experiment.settings_file import apply_override, read_settings

    changes = [f"{name}={yaml.safe_dump(value, default_flow_style=True)}" for name, value in overrides.items()]
    if isinstance(experiment, str | Path):
        return read_settings(Path(experiment), changes), str(experiment)
    if isinstance(experiment, ExperimentSettings):
        raw = yaml.safe_load(config_text(experiment))
    else:
        raw = deepcopy(dict(experiment))
    for change in changes:
        apply_override(raw, change)
    return raw, "the experiment"
