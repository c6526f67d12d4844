"""Run an experiment from its settings to its report; run again after a kill, it goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import yaml

from voxelcast.core.errors import ConfigError, ExecutionError, OptionError, StoreError, VoxelcastError
from voxelcast.core.progress import SILENT, Progress
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
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning import fits as fitting
from voxelcast.experiment.planning import held_out, stages
from voxelcast.experiment.planning.layers import (
    add_joined,
    extraction_steps,
    folded_layers,
    join_step,
    readable_stimuli,
)
from voxelcast.experiment.planning.trainings import Trainings, source_steps, training_steps
from voxelcast.experiment.planning.trunks import Trunks, trunk_steps
from voxelcast.experiment.results import remove_all_results, remove_old_maps, write_results
from voxelcast.experiment.scratch import released_line, restoring
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.experiment.settings_file import parse_config
from voxelcast.experiment.steps.compress import FoldedLayers
from voxelcast.experiment.steps.extract import Extracted, Readable
from voxelcast.experiment.steps.fit import on_device
from voxelcast.experiment.steps.kept import KeptLayer
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


Work = Generator[stages.Stage, Attempt, tuple[Finished, int]]
"""An experiment's stages one after the other; each is told what became of the one before."""


@dataclass(frozen=True)
class Opened:
    """An experiment under way in its folder: what is to be done, what it will cost, and where that is noted."""

    plan: Plan
    output: Path
    workers: int
    forecast: Estimate
    journal: Journal
    keep_scratch: bool
    used: TextIO
    """The lock by which other runs know that the store is used."""


def run_experiment(
    settings: ExperimentSettings,
    output: Path,
    *,
    store: Path | None = None,
    on: Profile = THIS_MACHINE,
    progress: Progress = SILENT,
) -> Summary:
    """Run every step that is not done yet and write the results.

    A subject x ROI that fails does not cost the others: their results are written, marked as incomplete. A folder
    that holds another experiment's results is refused; finished steps are kept in ``store``, or in ``output/steps``.
    What no step is left to read is removed (`compute.keep_scratch`). Raises as `voxelcast.run`.
    """
    with opened(settings, output, store, on, progress) as one:
        with open_engine(on, one.workers, output, progress.note, used_gpus(settings)) as engine:
            runner = StageRunner(engine, one.plan.store, progress, one.journal, on.retries)
            found = _driven(restoring(stages_of(one, progress.note), one.plan.store, progress.note), runner)
        return finish(one, found, on, progress)


@contextmanager
def opened(
    settings: ExperimentSettings, output: Path, store: Path | None, on: Profile, progress: Progress
) -> Iterator[Opened]:
    """Plan an experiment and note in its folder that it runs, until the block ends. Raises as `voxelcast.run`."""
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
        keep = settings.compute.keep_scratch
        keep = store is not None if keep is None else keep
        with journal.run(steps_store.root, on.scheduler, forecast.seconds), steps_store.in_use() as used:
            yield Opened(plan, output, workers, forecast, journal, keep, used)


def _driven(work: Work, runner: StageRunner) -> tuple[Finished, int]:
    try:
        stage = next(work)
        while True:
            stage = work.send(runner.attempt(stage.what, stage.steps, stage.unit, wrong_ends=stage.wrong_ends))
    except StopIteration as end:
        found: tuple[Finished, int] = end.value
        return found


def finish(one: Opened, found: tuple[Finished, int], on: Profile, progress: Progress) -> Summary:
    """Write the results of finished steps; raise ExecutionError if a subject x ROI is missing."""
    (finished, ran), plan, output = found, one.plan, one.output
    if not finished.fits:
        remove_all_results(plan, output)
        raise ExecutionError(missing_line(finished.missing, len(plan.pairs)))
    if remove_old_maps(finished, output):
        progress.note(f"brain maps removed, as their values changed; make them anew: voxelcast maps {output}")
    with one.journal.writing(stages.RESULTS):
        scores = write_results(finished, output)
        write_models(finished, output, scores)
    with one.journal.writing(stages.REPORT):
        from voxelcast.report.page import write_report  # Matplotlib takes seconds to import

        write_report(output)
    for warning in finished.warnings():
        progress.note(f"warning: {warning}")
    progress.note(f"{'incomplete ' if finished.missing else ''}results in {output}")
    send_results(on, output, progress.note)
    if finished.missing:
        raise ExecutionError(missing_line(finished.missing, len(plan.pairs), output))
    if finished.undivided:
        raise ExecutionError(undivided_line(finished.undivided, len(plan.pairs), output))
    if not one.keep_scratch:
        freed = plan.store.release([step.step_id for step in finished.steps], one.used)
        if freed != 0:
            progress.note(released_line(freed))
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


def used_gpus(settings: ExperimentSettings) -> int:
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


def stages_of(one: Opened, note: Callable[[str], None]) -> Work:
    """Go through the stages of an experiment; return what is finished, and how many steps were run now."""
    plan, output = one.plan, one.output
    responses = fitting.responses_steps(plan)
    # Wrong data end the run here, before long work.
    prepared = yield stages.Stage(stages.READ, list(responses.values()), wrong_ends=True)
    if len(prepared.failures) == len(responses):
        remove_all_results(plan, output)
        prepared.all_done()
    ran = prepared.n_run
    extracted = extraction_steps(plan)
    sources = source_steps(plan)
    shown = {f"{kind} of {name}": made for kind, some in sources.items() for name, (_, made) in some.items()}
    shards = [step for of_network in (extracted | shown).values() for step in of_network.steps]
    ran += yield from _all(stages.EXTRACT, shards, "stimulus")
    readable = readable_stimuli(plan, extracted | shown)
    for reason in readable.broken.values():
        note(f"left out: {reason}")
    repeats = range(plan.config.folds.repeats)
    folded = {
        table: [folded_layers(plan, extracted, readable, repeat, table) for repeat in repeats]
        for table in plan.fold_tables
    }
    tables = {table: [layers for layers, _ in found] for table, found in folded.items()}
    # Without refits all partitions into folds share the steps.
    compressions = list(
        {step.step_id: step for found in folded.values() for _, steps in found for step in steps}.values()
    )
    ran += yield from _all(stages.COMPRESS, compressions)
    joins = []
    if plan.config.ensemble.joined:
        joined = {table: [(layers, join_step(plan, layers)) for layers in found] for table, found in tables.items()}
        joins = [step for found in joined.values() for _, step in found]
        ran += yield from _all(stages.JOIN, joins)
        tables = {table: [add_joined(*one) for one in found] for table, found in joined.items()}
    partitions = {subject: tables.get(subject) or tables[""] for subject in plan.dataset.subjects}
    failed = {failure.step_id for failure in prepared.failures}
    read = {pair: step for pair, step in responses.items() if step.step_id not in failed}
    given = fitting.training_responses(plan, read)
    trunks, training = trunk_steps(plan, given, readable, partitions, extracted)
    ran += yield from _all(stages.TRAIN_TRUNKS, training)
    (trainings,), n_trained = yield from _train(plan, note, [training_steps(plan, sources, read, readable)])
    searched = fitting.searched_layers(plan, partitions, trunks, trainings)
    fits = on_device(fitting.fit_steps(plan, given, readable, searched), plan.store, plan.extract_on)
    fitted = yield stages.Stage(stages.FIT, list(fits.values()))
    first = plan.fold_tables[0]
    made = tables[first][0], folded[first][0][1], joins[0] if joins else None, trunks, trainings
    failed |= {failure.step_id for failure in fitted.failures}
    done = {pair: step for pair, step in fits.items() if step.step_id not in failed}
    kept, keeping, projected, n_kept = yield from _keep(plan, done, readable, extracted | shown, made)
    predicts = held_out.predict_steps(plan, done, responses, readable, kept, projected)
    predictions = list(dict.fromkeys(predicts.values()))  # one for all ROIs of a subject
    predicted = yield from _tried(stages.Stage(stages.PREDICT, predictions))
    failures = (*prepared.failures, *fitted.failures, *predicted.failures)
    missing = find_missing(plan, responses, fits, predicts, failures, trainings.notes)
    fits = {pair: step for pair, step in fits.items() if pair not in missing}
    predicts = {pair: step for pair, step in predicts.items() if pair in fits}
    shuffles = range(1, plan.config.shuffles + 1) if plan.config.control != "none" else ()
    wanted = [training_steps(plan, sources, read, readable, number) for number in shuffles]
    retrained, n_retrained = yield from _train(plan, note, wanted)
    controls = fitting.control_steps(
        plan, fits, [fitting.searched_layers(plan, partitions, trunks, found) for found in retrained]
    )
    shuffled = [replace(step, uses_gpu=fits[pair].uses_gpu) for pair, each in controls.items() for step in each]
    ran += yield from _all(stages.SHUFFLE, shuffled)
    divisions = fitting.partition_steps(plan, {pair: given[pair] for pair in fits}, readable, partitions)
    divided = yield from _tried(stages.Stage(stages.DIVIDE, list(divisions.values())))
    undivided = {failure.step_id for failure in divided.failures}
    divisions = {pair: step for pair, step in divisions.items() if step.step_id not in undivided}
    steps = [*read.values(), *shards, *compressions, *joins, *training]
    steps += [step for found in (trainings, *retrained) for step in found.steps]
    steps += [*fits.values(), *keeping, *predictions, *shuffled, *divisions.values()]
    ran += n_trained + n_retrained
    notes = (*trainings.notes, *(f"Control: {note}" for found in retrained for note in found.notes))
    layers = searched[next(iter(fits), plan.pairs[0])][0]
    models = fits, predicts, kept
    finished = Finished(
        plan, readable, read, layers, *models, controls, missing, divisions, divided.failures, steps, notes
    )
    return finished, ran + fitted.n_run + n_kept + predicted.n_run + divided.n_run


def _tried(stage: stages.Stage) -> Generator[stages.Stage, Attempt, Attempt]:
    """Have steps tried, if there are any."""
    return (yield stage) if stage.steps else Attempt(0, ())


def _all(what: str, steps: Sequence[Step], unit: str = "step") -> Generator[stages.Stage, Attempt, int]:
    """Have steps done that are all needed; return how many were run now."""
    attempt = yield from _tried(stages.Stage(what, steps, unit, wrong_ends=True))
    return attempt.all_done()


def _train(
    plan: Plan, note: Callable[[str], None], wanted: Sequence[Trainings]
) -> Generator[stages.Stage, Attempt, tuple[list[Trainings], int]]:
    """Train, and leave out the variants of which a training failed; count the steps run. Wrong settings end the run."""
    attempt = yield from _tried(
        stages.Stage(stages.TRAIN, [step for found in wanted for step in found.steps], "training")
    )
    for failure in attempt.failures:
        if isinstance(failure.error, OptionError):
            raise failure.error
    surviving = [trainings.surviving(plan.store, attempt.failures) for trainings in wanted]
    for reason in (reason for trainings in surviving for reason in trainings.notes):
        note(f"left out: {reason}")
    return surviving, attempt.n_run


def _keep(
    plan: Plan,
    fits: Mapping[Pair, Step],
    readable: Readable,
    extracted: Mapping[str, Extracted],
    made: tuple[FoldedLayers, Sequence[Step], Step | None, Trunks, Trainings],
) -> Generator[stages.Stage, Attempt, tuple[list[KeptLayer], list[Step], list[tuple[list[str], Projected]], int]]:
    """Keep how the layers are made that models weigh, and make those of held-out stimuli so; count the steps run."""
    used = fits if readable.test_ids else {pair: fits[pair] for pair in held_out.saved_pairs(plan, fits)}
    if plan.config.unsaved or not used:
        return [], [], [], 0
    weighed, (layers, compressions, join, trunks, trainings) = held_out.weighed_layers(plan, used.values()), made
    learned = held_out.learned_layers(plan, weighed, used, layers, trunks, trainings)
    weighed |= {member for one in learned for member in one.members}
    compressed = held_out.keeping_steps(weighed, layers, compressions, join, plan.extract_on)
    steps = list(dict.fromkeys(compressed.values()))
    ran = yield from _all(stages.KEEP, steps)
    kept = [*compressed, *learned]
    projections, projected = held_out.project_steps(plan, kept, extracted) if readable.test_ids else ([], [])
    ran += yield from _all(stages.PROJECT, projections, "stimulus")
    return kept, [*steps, *projections], projected, ran


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
