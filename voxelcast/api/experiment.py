"""Running an experiment from Python."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from voxelcast.core.progress import Progress, python_progress
from voxelcast.results.read import Results, read_results

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
        An experiment file, or its settings.
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
    from voxelcast.experiment.run import run_experiment

    config = experiment_settings(experiment, overrides or {})
    folder = output_folder(config, None if output is None else Path(output))
    run_experiment(
        config,
        folder,
        store=None if store is None else Path(store),
        on=chosen_profile(on) if on is None or isinstance(on, str) else on,
        progress=python_progress(progress, "voxelcast.run"),
    )
    return read_results(folder)


def experiment_settings(
    experiment: str | Path | Mapping[str, Any] | ExperimentSettings, overrides: Mapping[str, Any]
) -> ExperimentSettings:
    """Check the settings of an experiment, after changes."""
    from voxelcast.experiment.run import config_text
    from voxelcast.experiment.settings import ExperimentSettings
    from voxelcast.experiment.settings_file import apply_override, load_config, parse_config

    if isinstance(experiment, ExperimentSettings) and not overrides:
        return experiment
    changes = [f"{name}={yaml.safe_dump(value, default_flow_style=True)}" for name, value in overrides.items()]
    if isinstance(experiment, str | Path):
        return load_config(Path(experiment), changes)
    if isinstance(experiment, ExperimentSettings):
        raw = yaml.safe_load(config_text(experiment))
    else:
        raw = deepcopy(dict(experiment))
    for change in changes:
        apply_override(raw, change)
    return parse_config(raw, "the experiment")
