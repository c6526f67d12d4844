"""Run an experiment from its settings to its report; run again after a kill, it goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from voxelcast.core.errors import ExecutionError, OptionError, StoreError, UnwritableError, VoxelcastError
from voxelcast.core.progress import Progress
from voxelcast.execution.engine import Engine
from voxelcast.execution.gpu import visible_gpus
from voxelcast.execution.journal import Journal
from voxelcast.execution.machine import available_cores, check_disk
from voxelcast.execution.opening import fetch_inputs, open_engine, send_results, worker_device, worker_slots
from voxelcast.execution.profile import THIS_MACHINE, LocalProfile, Profile
from voxelcast.execution.stage import Attempt, attempt_steps
from voxelcast.execution.steps import Step
from voxelcast.experiment.compress_plan import compress_spaces, compress_steps
from voxelcast.experiment.estimate import Estimate, estimate
from voxelcast.experiment.finished import Finished
from voxelcast.experiment.fit_plan import fit_steps
from voxelcast.experiment.join_plan import join_spaces
from voxelcast.experiment.missing import find_missing, missing_line, undivided_line
from voxelcast.experiment.partition_plan import partition_steps
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.results import write_results
from voxelcast.experiment.settings import ExperimentConfig
from voxelcast.experiment.settings_file import parse_config
from voxelcast.experiment.superseded import remove_all_results, remove_old_maps
from voxelcast.store.atomic import write_text
from voxelcast.store.lock import locked
from voxelcast.store.steps import StepStore


@dataclass(frozen=True)
class Summary:
    """What a run left.

    Parameters
    ----------
    output : Path
        Folder of the results.
    steps_run, steps_kept : int
        Steps done now, and done before.
    mean_score : float or None
        Mean over subject x ROI of ``score``.
    """

    output: Path
    steps_run: int
    steps_kept: int
    mean_score: float | None


_OURS = ("steps", ".lock")  # what a run leaves before it has written its settings


def run_experiment(
    config: ExperimentConfig, output: Path, *, store: Path | None = None, on: Profile = THIS_MACHINE, progress: Progress
) -> Summary:
    """Run every step that is not done yet and write the results.

    A subject x ROI that fails does not cost the others: their results are written, marked as incomplete.

    Parameters
    ----------
    config : ExperimentConfig
    output : Path
        Folder of the results; a folder that holds another experiment's is refused.
    store : Path or None
        Folder of the finished steps, to be shared between experiments; None: ``output/steps``.
    on : Profile
        Where the steps run.
    progress : Progress

    Raises
    ------
    StoreError
        If the output holds another experiment, or another process works in it.
    ExecutionError
        If a subject x ROI failed, after the results of the others were written; if workers could not be had.
    VoxelcastError
        For whatever is wrong with settings or data.
    """
    check_output(config, output)
    steps_store = StepStore(store or output / "steps")
    with locked(output):
        fetch_inputs(on, progress.note)
        workers = worker_slots(on) or config.compute.workers or available_cores()
        plan = Plan(_on_driver(config, on), steps_store, extract_on=worker_device(on, config.compute.device))
        write_text(output / "config.yaml", config_text(config))
        forecast = estimate(plan, workers)
        for line in forecast.lines():
            progress.note(line)
        check_disk(steps_store.root, forecast.disk_bytes)
        journal = Journal(output)
        seconds = (0.0, forecast.extract_seconds, forecast.compress_seconds, forecast.fit_seconds)
        stages = dict(zip(STAGES, seconds, strict=True))
        if config.ensemble.joined:
            stages[JOIN] = forecast.join_seconds
            stages[STAGES[-1]] = stages.pop(STAGES[-1])  # it comes after
        if plan.layer_groups:
            stages[DIVIDE] = forecast.partition_seconds
        with journal.run(steps_store.root, on.scheduler, stages):
            with open_engine(on, workers, output, progress.note, _gpus(config)) as engine:
                finished, ran = _run(plan, _Runner(engine, steps_store, journal, on.retries, progress), output)
            if not finished.fits:
                remove_all_results(plan, output)
                raise ExecutionError(missing_line(finished.missing, len(plan.pairs)))
            if remove_old_maps(finished, output):
                progress.note(f"brain maps removed, as their values changed; make them anew: voxelcast maps {output}")
            scores = write_results(finished, output)
            progress.note(f"{'incomplete ' if finished.missing else ''}results in {output}")
            send_results(on, output, progress.note)
            if finished.missing:
                raise ExecutionError(missing_line(finished.missing, len(plan.pairs), output))
            if finished.divided.failures:
                raise ExecutionError(undivided_line(finished.divided.failures, len(plan.pairs), output))
        there = [row["score"] for row in scores if row["score"] is not None]
        mean = sum(there) / len(there) if there else None
        return Summary(output, ran, len(finished.all_steps()) - ran, mean)


def estimate_experiment(config: ExperimentConfig, output: Path, *, store: Path | None = None) -> Estimate:
    """Say how long an experiment will take and how much disk, without doing it (one stimulus is looked at)."""
    check_output(config, output)
    plan = Plan(config, StepStore(store or output / "steps", read_only=True))
    return estimate(plan, config.compute.workers or available_cores())


def _gpus(config: ExperimentConfig) -> int:
    """Return how many of this machine's GPUs to use: of device cuda all, or as many as asked for."""
    if config.compute.device != "cuda":
        return 0
    there = len(visible_gpus())
    if config.compute.gpus is not None and config.compute.gpus > there:
        raise OptionError(f"compute.gpus must be at most {there}, the GPUs found; got {config.compute.gpus}; lower it")
    return there if config.compute.gpus is None else config.compute.gpus


def _on_driver(config: ExperimentConfig, on: Profile) -> ExperimentConfig:
    """Have this process plan on the CPU where the work is done elsewhere: a login node has no GPU."""
    if isinstance(on, LocalProfile):
        return config
    return config.model_copy(update={"compute": config.compute.model_copy(update={"device": "cpu"})})


@dataclass(frozen=True)
class _Runner:
    """All that is the same for every stage of a run."""

    engine: Engine
    store: StepStore
    journal: Journal
    retries: int
    progress: Progress

    def run(self, what: str, steps: Sequence[Step], unit: str = "step") -> int:
        """Run steps that all are needed and return how many were run."""
        return self.attempt(what, steps, unit).all_done()

    def attempt(self, what: str, steps: Sequence[Step], unit: str = "step", *, wrong_ends: bool = True) -> Attempt:
        """Run steps of which some may fail; see :func:`voxelcast.execution.stage.attempt_steps`."""
        return attempt_steps(
            steps,
            self.store,
            engine=self.engine,
            progress=self.progress,
            what=what,
            unit=unit,
            journal=self.journal,
            retries=self.retries,
            wrong_ends=wrong_ends,
        )


STAGES = ("read responses", "extract features", "compress layers", "fit encoding models")
JOIN, DIVIDE = "join layers", "divide variance"  # stages of runs that ask for them


def _run(plan: Plan, runner: _Runner, output: Path) -> tuple[Finished, int]:
    read, extract, compress, fit = STAGES
    responses = plan.responses_steps()
    prepared = runner.attempt(read, list(responses.values()))  # wrong data end the run here, before long work
    if len(prepared.failures) == len(responses):
        remove_all_results(plan, output)
        prepared.all_done()
    ran = prepared.n_run
    extracted = plan.extract_steps()
    ran += runner.run(extract, [step for of_network in extracted.values() for step in of_network], "stimulus")
    readable = plan.readable(extracted)
    for reason in readable.broken.values():
        runner.progress.note(f"left out: {reason}")
    spaces = compress_spaces(plan, extracted, readable)
    repeated = [compress_spaces(plan, extracted, readable, repeat) for repeat in range(1, plan.config.folds.repeats)]
    ran += runner.run(compress, compress_steps(spaces, repeated))
    if joined := join_spaces(plan, [spaces, *repeated], readable):
        ran += runner.run(JOIN, [space.step for space in joined])
        spaces, *repeated = [[*own, space] for own, space in zip([spaces, *repeated], joined, strict=True)]
    fits = fit_steps(plan, responses, spaces, readable, repeated)
    unprepared = find_missing(plan, responses, fits, prepared.failures)
    fitted = runner.attempt(fit, [step for pair, step in fits.items() if pair not in unprepared], wrong_ends=False)
    failures = (*prepared.failures, *fitted.failures)
    missing = find_missing(plan, responses, fits, failures)
    failed = {failure.step_id for failure in failures}
    responses = {pair: step for pair, step in responses.items() if step.step_id not in failed}
    fits = {pair: step for pair, step in fits.items() if pair not in missing}
    partitions = partition_steps(plan, {pair: responses[pair] for pair in fits}, spaces, readable, repeated)
    divided = runner.attempt(DIVIDE, list(partitions.values()), wrong_ends=False) if partitions else Attempt(0, ())
    finished = Finished(plan, readable, responses, extracted, spaces, fits, missing, repeated, partitions, divided)
    return finished, ran + fitted.n_run + divided.n_run


def config_text(config: ExperimentConfig) -> str:
    """Write all settings as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def check_output(config: ExperimentConfig, output: Path) -> None:
    """Raise StoreError if ``output`` holds the results of other settings, or files that are not ours."""
    if output.exists() and not output.is_dir():
        raise UnwritableError(f"output {output} is a file; choose a folder with --output")
    there = output / "config.yaml"
    if not there.is_file():
        foreign = sorted(p.name for p in output.iterdir() if p.name not in _OURS) if output.exists() else []
        if foreign:
            raise StoreError(
                f"output {output} holds files that are not an experiment's ({foreign[0]}, ...); "
                "choose an empty or new folder with --output"
            )
        return
    difference = _first_difference(_read_settings(there), json.loads(json.dumps(config.results_config())))
    if difference:
        raise StoreError(
            f"output {output} holds another experiment: {difference}; choose another folder with --output, "
            "or undo the change to go on with this one"
        )


def _read_settings(path: Path) -> dict[str, Any]:
    """Read all settings that can change a result; those that came later have their defaults, which is what was done."""
    try:
        found = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict):
        raise StoreError(f"{path} holds no experiment's settings; choose an empty or new folder with --output")
    try:
        whole: dict[str, Any] = json.loads(json.dumps(parse_config(found, str(path)).results_config()))
    except VoxelcastError:  # of a version with other settings: what differs is said all the same
        return {name: value for name, value in found.items() if name != "compute"}
    return whole


def _first_difference(there: Any, here: Any, where: str = "") -> str | None:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [*here, *(k for k in there if k not in here)]:
            found = _first_difference(there.get(key), here.get(key), f"{where}.{key}".lstrip("."))
            if found:
                return found
        return None
    return None if there == here else f"{where} is {there!r} there and {here!r} here"
