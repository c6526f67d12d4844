"""Run an experiment from its settings to its report; run again after a kill, it goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from voxelcast.core.errors import ConfigError, ExecutionError, OptionError, StoreError, VoxelcastError
from voxelcast.core.progress import Progress, Silent
from voxelcast.execution.journal import FILE_NAME, Journal
from voxelcast.execution.machine import available_cores, check_disk, visible_gpus
from voxelcast.execution.opening import fetch_inputs, open_engine, send_results, worker_device, worker_slots
from voxelcast.execution.profile import THIS_MACHINE, LocalProfile, Profile
from voxelcast.execution.stage import Attempt, StageRunner
from voxelcast.execution.steps import Step
from voxelcast.experiment.costs import Estimate, estimate
from voxelcast.experiment.finished import Finished, find_missing, missing_line, undivided_line
from voxelcast.experiment.models import known_shards, write_models
from voxelcast.experiment.outputs import working_in
from voxelcast.experiment.plan import (
    COMPRESS,
    DIVIDE,
    EXTRACT,
    FIT,
    JOIN,
    KEEP,
    PREDICT,
    PROJECT,
    READ,
    SHUFFLE,
    TRAIN,
    TRAIN_TRUNKS,
    Plan,
    add_joined,
)
from voxelcast.experiment.results import remove_all_results, remove_old_maps, write_results
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.experiment.settings_file import parse_config
from voxelcast.experiment.steps.axes import KeptLayer
from voxelcast.experiment.steps.compress import FoldedLayers
from voxelcast.experiment.steps.extract import Extracted, Readable
from voxelcast.experiment.steps.fit import on_device
from voxelcast.experiment.steps.predict import Projected
from voxelcast.results.schema import Pair
from voxelcast.store.atomic import write_text
from voxelcast.store.lock import check_folder
from voxelcast.store.readers.plain import read_yaml
from voxelcast.store.steps import StepStore


@dataclass(frozen=True)
class Summary:
    """What a run left: its folder, the steps done now and before, and the mean over subject x ROI of ``score``."""

    output: Path
    steps_run: int
    steps_kept: int
    mean_score: float | None


def run_experiment(
    settings: ExperimentSettings,
    output: Path,
    *,
    store: Path | None = None,
    on: Profile = THIS_MACHINE,
    progress: Progress | None = None,
) -> Summary:
    """Run every step that is not done yet and write the results.

    A subject x ROI that fails does not cost the others: their results are written, marked as incomplete. A folder
    that holds another experiment's results is refused; finished steps are kept in ``store``, or in ``output/steps``.
    Raises as `voxelcast.run`.
    """
    progress = Silent() if progress is None else progress
    check_output(settings, output)
    with working_in(output):
        steps_store = StepStore(store or output / "steps")
        fetch_inputs(on, progress.note)
        workers = worker_slots(on) or settings.compute.workers or available_cores()
        extract_on, known = worker_device(on, settings.compute.device), known_shards(output)
        plan = Plan(_on_driver(settings, on), steps_store, extract_on=extract_on, known=known)
        write_text(output / "config.yaml", config_text(settings))
        forecast = estimate(plan, workers, look=False)
        for line in forecast.lines():
            progress.note(line)
        check_disk(steps_store.root, forecast.disk_bytes)
        journal = Journal(output)
        with journal.run(steps_store.root, on.scheduler, forecast.seconds):
            with open_engine(on, workers, output, progress.note, _gpus(settings)) as engine:
                runner = StageRunner(engine, steps_store, progress, journal, on.retries)
                finished, ran = _run(plan, runner, output)
            if not finished.fits:
                remove_all_results(plan, output)
                raise ExecutionError(missing_line(finished.missing, len(plan.pairs)))
            if remove_old_maps(finished, output):
                progress.note(f"brain maps removed, as their values changed; make them anew: voxelcast maps {output}")
            scores = write_results(finished, output)
            write_models(finished, output, scores)
            for warning in finished.warnings():
                progress.note(f"warning: {warning}")
            progress.note(f"{'incomplete ' if finished.missing else ''}results in {output}")
            send_results(on, output, progress.note)
            if finished.missing:
                raise ExecutionError(missing_line(finished.missing, len(plan.pairs), output))
            if finished.undivided:
                raise ExecutionError(undivided_line(finished.undivided, len(plan.pairs), output))
        there = [row["score"] for row in scores if row["score"] is not None]
        mean = sum(there) / len(there) if there else None
        return Summary(output, ran, len(finished.steps) - ran, mean)


def estimate_experiment(settings: ExperimentSettings, output: Path, *, store: Path | None = None) -> Estimate:
    """Say how long an experiment will take, and how much disk and memory, without doing it.

    One stimulus of each network is looked at, and one subject x ROI's responses are read.
    """
    check_output(settings, output)
    plan = Plan(settings, StepStore(store or output / "steps", read_only=True))
    return estimate(plan, settings.compute.workers or available_cores())


def _gpus(settings: ExperimentSettings) -> int:
    """Return how many of this machine's GPUs to use: of device cuda all, or as many as asked for."""
    if settings.compute.device != "cuda":
        return 0
    there = len(visible_gpus())
    if settings.compute.gpus is not None and settings.compute.gpus > there:
        raise OptionError(
            f"compute.gpus must be at most {there}, the GPUs found; got {settings.compute.gpus}; lower it"
        )
    return there if settings.compute.gpus is None else settings.compute.gpus


def _on_driver(settings: ExperimentSettings, on: Profile) -> ExperimentSettings:
    """Have this process plan on the CPU where the work is done elsewhere: a login node has no GPU."""
    if isinstance(on, LocalProfile):
        return settings
    return settings.model_copy(update={"compute": replace(settings.compute, device="cpu")})


def _run(plan: Plan, runner: StageRunner, output: Path) -> tuple[Finished, int]:
    responses = plan.responses_steps()
    # Wrong data end the run here, before long work.
    prepared = runner.attempt(READ, list(responses.values()), wrong_ends=True)
    if len(prepared.failures) == len(responses):
        remove_all_results(plan, output)
        prepared.all_done()
    ran = prepared.n_run
    extracted = plan.extract_steps()
    sources = plan.source_steps()
    shown = {
        f"{kind} of {name}": Extracted(tuple(steps), (), (), ())
        for kind, some in sources.items()
        for name, (_, steps) in some.items()
    }
    shards = [step for of_network in (extracted | shown).values() for step in of_network.steps]
    ran += runner.run(EXTRACT, shards, "stimulus")
    readable = plan.readable(extracted | shown)
    for reason in readable.broken.values():
        runner.progress.note(f"left out: {reason}")
    repeats = range(plan.config.folds.repeats)
    folded = {
        table: [plan.folded_layers(extracted, readable, repeat, table) for repeat in repeats]
        for table in plan.fold_tables
    }
    tables = {table: [layers for layers, _ in found] for table, found in folded.items()}
    # Without refits all partitions into folds share the steps.
    compressions = list(
        {step.step_id: step for found in folded.values() for _, steps in found for step in steps}.values()
    )
    ran += runner.run(COMPRESS, compressions) if compressions else 0
    joins = []
    if plan.config.ensemble.joined:
        joined = {table: [(layers, plan.join_step(layers)) for layers in found] for table, found in tables.items()}
        joins = [step for found in joined.values() for _, step in found]
        ran += runner.run(JOIN, joins)
        tables = {table: [add_joined(*one) for one in found] for table, found in joined.items()}
    partitions = {subject: tables.get(subject) or tables[""] for subject in plan.dataset.subjects}
    failed = {failure.step_id for failure in prepared.failures}
    read = {pair: step for pair, step in responses.items() if step.step_id not in failed}
    given = plan.training_responses(read)
    trunks, training = plan.trunk_steps(given, readable, partitions, extracted)
    ran += runner.run(TRAIN_TRUNKS, training) if training else 0
    trainings = plan.trainings(sources, read, readable)
    ran += runner.run(TRAIN, trainings.steps, "training") if trainings.steps else 0
    searched = plan.searched(partitions, trunks, trainings)
    fits = on_device(plan.fit_steps(given, readable, searched), plan.store, plan.extract_on)
    fitted = runner.attempt(FIT, list(fits.values()))
    first = plan.fold_tables[0]
    folds = tables[first][0], folded[first][0][1], joins[0] if joins else None
    failed |= {failure.step_id for failure in fitted.failures}
    done = {pair: step for pair, step in fits.items() if step.step_id not in failed}
    kept, projections, projected, n_kept = _keep(plan, runner, done, readable, extracted, folds)
    predicts = plan.predict_steps(done, responses, readable, kept, projected)
    predictions = list(dict.fromkeys(predicts.values()))  # one for all ROIs of a subject
    predicted = runner.attempt(PREDICT, predictions) if predictions else Attempt(0, ())
    failures = (*prepared.failures, *fitted.failures, *predicted.failures)
    missing = find_missing(plan, responses, fits, predicts, failures)
    fits = {pair: step for pair, step in fits.items() if pair not in missing}
    predicts = {pair: step for pair, step in predicts.items() if pair in fits}
    shuffles = range(1, plan.config.shuffles + 1) if plan.config.control != "none" else ()
    retrained = [plan.trainings(sources, read, readable, number) for number in shuffles]
    trained = [step for found in retrained for step in found.steps]
    ran += runner.run(TRAIN, trained, "training") if trained else 0
    controls = plan.control_steps(fits, [plan.searched(partitions, trunks, found) for found in retrained])
    shuffled = [replace(step, uses_gpu=fits[pair].uses_gpu) for pair, each in controls.items() for step in each]
    ran += runner.run(SHUFFLE, shuffled) if shuffled else 0
    divisions = plan.partition_steps({pair: given[pair] for pair in fits}, readable, partitions)
    divided = runner.attempt(DIVIDE, list(divisions.values())) if divisions else Attempt(0, ())
    undivided = {failure.step_id for failure in divided.failures}
    divisions = {pair: step for pair, step in divisions.items() if step.step_id not in undivided}
    steps = [*read.values(), *shards, *compressions, *joins, *training, *trainings.steps, *trained, *fits.values()]
    steps += [*dict.fromkeys(kept.values()), *projections, *predictions]
    steps += [*shuffled, *divisions.values()]
    layers = searched[next(iter(fits), plan.pairs[0])][0]
    models = fits, predicts, kept
    finished = Finished(plan, readable, read, layers, *models, controls, missing, divisions, divided.failures, steps)
    return finished, ran + fitted.n_run + n_kept + predicted.n_run + divided.n_run


def _keep(
    plan: Plan,
    runner: StageRunner,
    fits: Mapping[Pair, Step],
    readable: Readable,
    extracted: Mapping[str, Extracted],
    folds: tuple[FoldedLayers, Sequence[Step], Step | None],
) -> tuple[dict[KeptLayer, Step], list[Step], list[tuple[list[str], Projected]], int]:
    """Keep how the layers are compressed that models weigh, and compress held-out stimuli so; count the steps run."""
    used = fits if readable.test_ids else {pair: fits[pair] for pair in plan.saved_pairs(fits)}
    if plan.config.unsaved or not used:
        return {}, [], [], 0
    kept = plan.keeping_steps(plan.weighed_layers(used.values()), *folds)
    ran = runner.run(KEEP, list(dict.fromkeys(kept.values())))
    projections, projected = plan.project_steps(kept, extracted) if readable.test_ids else ([], [])
    ran += runner.run(PROJECT, projections, "stimulus") if projections else 0
    return kept, projections, projected, ran


def config_text(settings: ExperimentSettings) -> str:
    """Write all settings as YAML."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


_ALL_HAVE = {"dataset", "encoders", "folds", "search", "interval"}
"""Some of the settings that a run always writes, and a user's own file of that name seldom has all."""


def check_output(settings: ExperimentSettings, output: Path) -> None:
    """Raise StoreError if ``output`` holds the results of other settings, or files that are not ours."""
    there = check_folder(output, "config.yaml", "an experiment's")
    if there is None:
        return
    difference = _first_difference(_read_settings(there), json.loads(json.dumps(settings.results_config())))
    if difference:
        raise StoreError(
            f"output {output} holds another experiment: {difference}; choose another folder with --output, "
            "or undo the change to go on with this one"
        )


def _read_settings(path: Path) -> dict[str, Any]:
    """Read all settings that can change a result; those that came later have their defaults, which is what was done."""
    try:
        found = read_yaml(path, "settings")
    except ConfigError:
        found = None
    if not isinstance(found, dict):
        raise StoreError(f"{path} holds no experiment's settings; choose an empty or new folder with --output")
    if not (found.keys() >= _ALL_HAVE or any(path.with_name(name).exists() for name in (FILE_NAME, "provenance.json"))):
        raise StoreError(f"{path} is there, and no run wrote it; choose another folder with --output")
    try:
        whole: dict[str, Any] = json.loads(json.dumps(parse_config(found, str(path)).results_config()))
    except VoxelcastError:  # of a version with other settings: what differs is said all the same
        return {name: value for name, value in found.items() if name not in ("compute", "models")}
    return whole


def _first_difference(there: Any, here: Any, where: str = "") -> str | None:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [*here, *(k for k in there if k not in here)]:
            found = _first_difference(there.get(key), here.get(key), f"{where}.{key}".lstrip("."))
            if found:
                return found
        return None
    return None if there == here else f"{where} is {there!r} there and {here!r} here"
