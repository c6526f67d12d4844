"""A sweep: every combination of some settings is an experiment; all share their steps, and one page compares them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Final

import yaml

from voxelcast.core.checks import check_file_name
from voxelcast.core.errors import ConfigError, ExecutionError, OptionError, VoxelcastError, one_line
from voxelcast.core.progress import SILENT, Progress, Silent
from voxelcast.execution.engine import Engine
from voxelcast.execution.journal import Journal
from voxelcast.execution.machine import available_cores, check_disk
from voxelcast.execution.opening import open_engine, send_results
from voxelcast.execution.profile import THIS_MACHINE, Profile
from voxelcast.execution.stage import Attempt, StageRunner
from voxelcast.experiment.costs import Estimate, NetworkEstimate, estimate, stimuli_compressed
from voxelcast.experiment.finished import Finished
from voxelcast.experiment.outputs import working_in
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning.fits import responses_steps
from voxelcast.experiment.planning.layers import extraction_steps
from voxelcast.experiment.planning.stages import COMPRESS, EXTRACT, FIT, JOIN, ORDER, READ, Stage
from voxelcast.experiment.run import Opened, Work, check_output, finish, opened, stages_of, used_gpus
from voxelcast.experiment.scratch import restoring
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.experiment.settings_file import apply_override, parse_config
from voxelcast.store.atomic import write_text
from voxelcast.store.lock import check_folder
from voxelcast.store.readers.plain import read_yaml
from voxelcast.store.steps import StepId, StepStore

SWEEP_FILE: Final = "sweep.yaml"
"""The sweep's own record in its folder: the names of its experiments."""
Combinations = Mapping[str, ExperimentSettings]
"""The experiments of a sweep, by name."""


@dataclass(frozen=True)
class SweepSummary:
    """What a sweep left: its page, the experiments that have results, the steps done now and before."""

    page: Path
    names: tuple[str, ...]
    steps_run: int
    steps_kept: int


def combine(
    raw: Mapping[str, Any], axes: Mapping[str, Sequence[Any] | None], source: str
) -> dict[str, ExperimentSettings]:
    """Make an experiment of every combination of settings, named by what is combined.

    Parameters
    ----------
    raw : mapping
        The settings of an experiment, not yet checked.
    axes : mapping of str to sequence
        Values of each setting, dotted as on the command line. None takes each that the experiment lists. A network that
        the experiment lists may be named, by its label if it has one.
    source : str
        What a message calls the experiment.

    Raises
    ------
    ConfigError, OptionError
        If a combination is no experiment, or two have the same name.
    """
    if not axes:
        raise ConfigError("a sweep needs a list of values, e.g. encoders=[pls, ridge]; got none: give one")
    lists = {key: _values(raw, key, values, source) for key, values in axes.items()}
    found: dict[str, ExperimentSettings] = {}
    for chosen in product(*lists.values()):
        changed = deepcopy(dict(raw))
        for key, value in zip(lists, chosen, strict=True):
            apply_override(changed, f"{key}={yaml.safe_dump(value, default_flow_style=True)}")
        name = "_".join(map(_part, lists, chosen))
        if name in found:
            raise OptionError(
                f"{source}: two combinations are called {name!r}; give networks a label each, or other values"
            )
        found[name] = parse_config(changed | {"name": name}, f"{source}, {name}")
    return found


def _values(raw: Mapping[str, Any], key: str, values: Sequence[Any] | None, source: str) -> list[Any]:
    """Return the values of a setting; those that the experiment lists, where none are given."""
    listed: Any = raw
    for part in key.split("."):
        listed = listed.get(part) if isinstance(listed, Mapping) else None
    found = list(listed if isinstance(listed, list | tuple) else ()) if values is None else list(values)
    if not found:
        raise ConfigError(f"{source}: {key} must be a list to be swept; got {listed!r}; give {key}=[...]")
    if key != "networks":
        return found
    known = {str(one.get("label") or one.get("name")): one for one in listed or () if isinstance(one, Mapping)}

    def network(one: Any) -> Any:
        if isinstance(one, str) and one not in known:
            raise ConfigError(
                f"{source}: networks must be among those of the experiment ({', '.join(known)}), or settings such as "
                f"{{name: {one}, layers: [...]}}; got {one!r}"
            )
        return known[one] if isinstance(one, str) else one

    return [[network(one) for one in (several if isinstance(several, list) else [several])] for several in found]


def _part(key: str, value: Any) -> str:
    """Say a value of a setting in the name of a combination."""
    last = key.rpartition(".")[2]
    parts = value if isinstance(value, list) else [value]
    if isinstance(value, Mapping):
        parts = [one for one in value.values() if not isinstance(one, bool)]
    if key == "networks":
        parts = [
            str(one.get("label") or one.get("name")).rpartition("/")[2] for one in parts if isinstance(one, Mapping)
        ]
    text = "+".join(map(str, parts))
    named = text if any(isinstance(one, str) for one in parts) else f"{last}-{text}"
    return re.sub(r"[^\w.+-]+", "-", named).strip("-.") or last


@dataclass
class _Running:
    """An experiment of the sweep under way: what it needs next, or what is finished."""

    one: Opened
    closing: ExitStack
    work: Work
    stage: Stage | None = None
    found: tuple[Finished, int] | None = None

    def go_on(self, attempt: Attempt | None) -> None:
        """Have the experiment take back what became of its stage, and say what it needs next."""
        try:
            if attempt and self.stage and self.stage.wrong_ends:
                for failure in attempt.failures:
                    if isinstance(failure.error, VoxelcastError) and not isinstance(failure.error, ExecutionError):
                        raise ExecutionError(failure.reason) from failure.error
            self.stage = next(self.work) if attempt is None else self.work.send(attempt)
        except StopIteration as end:
            self.stage, self.found = None, end.value


class _Journals(Journal):
    """The sweep's own journal, which tells that of each experiment what concerns its own steps."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asking: list[_Running] = []

    def stage(self, what: str, steps: Sequence[str], units: Sequence[int]) -> None:
        super().stage(what, steps, units)
        for running in self.asking:
            own = running.stage.steps if running.stage else ()
            running.one.journal.stage(what, [step.step_id.folder for step in own], [step.size for step in own])

    def stage_end(self, what: str) -> None:
        super().stage_end(what)
        for running in self.asking:
            running.one.journal.stage_end(what)

    def lost(self, step: str, reason: str) -> None:
        super().lost(step, reason)
        for running in self._of(step):
            running.one.journal.lost(step, reason)

    def failed(self, step: str, reason: str, error: BaseException) -> Path | None:
        for running in self._of(step):
            running.one.journal.failed(step, reason, error)
        return super().failed(step, reason, error)

    def _of(self, name: str) -> list[_Running]:
        return [
            one for one in self.asking if one.stage and any(step.step_id.folder == name for step in one.stage.steps)
        ]


@dataclass(frozen=True)
class _Notes(Silent):
    """Says of each note which experiment it is about."""

    name: str
    progress: Progress

    def note(self, message: str) -> None:
        self.progress.note(f"{self.name}: {message}")


class _Sweep:
    """The experiments of a sweep, all at the same stage, and why some failed."""

    def __init__(self, output: Path, progress: Progress) -> None:
        self.progress = progress
        self.journals = _Journals(output)
        self.running: dict[str, _Running] = {}
        self.failed: dict[str, str] = {}
        self.steps_run = 0

    @contextmanager
    def trying(self, name: str) -> Iterator[None]:
        """Report an experiment that fails in the block, and leave its folder; the others go on."""
        try:
            yield
        except Exception as error:
            ours = isinstance(error, VoxelcastError | OSError)
            self.failed[name] = one_line(error) if ours else f"{type(error).__name__}: {one_line(error)}"
            self.progress.note(f"failed: {name}: {self.failed[name]}")
            running = self.running.pop(name, None)
            if running is not None:
                if not ours:
                    running.one.journal.failed("sweep", self.failed[name], error)
                running.closing.__exit__(type(error), error, error.__traceback__)

    def run(self, engine: Engine, store: StepStore, retries: int) -> None:
        """Have all stages done: of the experiments that need the same one, all steps together, each once."""
        runner = StageRunner(engine, store, self.progress, self.journals, retries)
        for name, running in list(self.running.items()):
            with self.trying(name):
                running.go_on(None)
        while needed := {name: one.stage for name, one in self.running.items() if one.stage}:
            what = min((stage.what for stage in needed.values()), key=ORDER.index)
            asking = {name: stage for name, stage in needed.items() if stage.what == what}
            self.journals.asking = [self.running[name] for name in asking]
            steps = {step.step_id: step for stage in asking.values() for step in stage.steps}
            new = {step_id for step_id in steps if not store.is_done(step_id)}
            done = runner.attempt(what, list(steps.values()), next(iter(asking.values())).unit)
            self.steps_run += done.n_run
            for name, stage in asking.items():
                own = {step.step_id for step in stage.steps}
                failures = tuple(failure for failure in done.failures if failure.step_id in own)
                with self.trying(name):
                    self.running[name].go_on(Attempt(len(own & new) - len(failures), failures))


def run_sweep(
    experiments: Combinations,
    output: Path,
    *,
    store: Path | None = None,
    on: Profile = THIS_MACHINE,
    progress: Progress = SILENT,
) -> SweepSummary:
    """Run every experiment as `run_experiment` does, into ``output/NAME``, and write a page that compares them.

    Those that an earlier sweep left in the folder are on the page too. Steps that several need are done once; they are
    kept in ``store``, or in ``output/steps``. An experiment that fails is reported and the others go on. Raises
    ExecutionError at the end if one failed, else as `voxelcast.run`.
    """
    was_there = check_folder(output, SWEEP_FILE, "a sweep's") is not None
    sweep = _Sweep(output, progress)
    with working_in(output), ExitStack() as stack:
        steps = StepStore(store or output / "steps")
        names = [*dict.fromkeys((*_earlier(output / SWEEP_FILE), *experiments))]
        write_text(output / SWEEP_FILE, yaml.safe_dump({"experiments": names}, sort_keys=False))
        for name, settings in experiments.items():
            closing = ExitStack()
            with sweep.trying(name):
                one = closing.enter_context(opened(settings, output / name, steps.root, on, SILENT))
                note = _Notes(name, progress).note
                sweep.running[name] = _Running(one, closing, restoring(stages_of(one, note), steps, note))
                stack.push(closing)
        if sweep.running:
            first = next(iter(sweep.running.values())).one
            forecast = together([(running.one.plan, running.one.forecast) for running in sweep.running.values()])
            for line in (f"{len(sweep.running)} experiments", *forecast.lines()):
                progress.note(line)
            check_disk(steps.root, forecast.disk_bytes)
            stack.enter_context(sweep.journals.run(steps.root, on.scheduler, forecast.seconds))
            with open_engine(on, first.workers, output, progress.note, used_gpus(first.plan.config)) as engine:
                sweep.run(engine, first.plan.store, on.retries)
        ids: set[StepId] = set()
        for name, running in list(sweep.running.items()):
            with sweep.trying(name):
                assert running.found is not None
                ids |= {step.step_id for step in running.found[0].steps}
                finish(running.one, running.found, THIS_MACHINE, _Notes(name, progress))
                running.closing.close()
        there = [name for name in names if (output / name / "scores.csv").is_file()]
        if there:
            from voxelcast.report.comparison_page import write_leaderboard  # Matplotlib takes seconds to import

            write_leaderboard([output / name for name in there], output)
            progress.note(f"leaderboard of {len(there)} experiments: {output / 'leaderboard.html'}")
        elif not was_there and not any((output / name).exists() for name in experiments):
            (output / SWEEP_FILE).unlink()
        send_results(on, output, progress.note)
        if sweep.failed:
            raise ExecutionError(_failed_line(sweep.failed, len(experiments), bool(there)))
    return SweepSummary(output / "leaderboard.html", tuple(there), sweep.steps_run, len(ids) - sweep.steps_run)


def _earlier(path: Path) -> list[str]:
    """Return the names of the experiments that an earlier sweep left; none where there was none."""
    found = read_yaml(path, "sweep") if path.is_file() else {}
    listed = found.get("experiments") if isinstance(found, dict) else None
    return [check_file_name(str(name), "experiment") for name in listed or ()]


def _failed_line(failed: Mapping[str, str], n: int, there: bool) -> str:
    (name, reason), *more = failed.items()
    others = f", and {len(more)} more" if more else ""
    rest = "; the others are on the leaderboard" if there else ""
    return (
        f"{len(failed)} of {n} experiments failed: {name}: {reason}{others}{rest}; run the same command again to go on"
    )


def estimate_sweep(experiments: Combinations, output: Path, *, store: Path | None = None) -> Estimate:
    """Say how long a sweep will take, as `estimate_experiment` does; what experiments share counts once."""
    check_folder(output, SWEEP_FILE, "a sweep's")
    parts = []
    for name, settings in experiments.items():
        check_output(settings, output / name)
        plan = Plan(settings, StepStore(store or output / "steps", read_only=True))
        parts.append((plan, estimate(plan, settings.compute.workers or available_cores())))
    return together(parts)


def together(parts: Sequence[tuple[Plan, Estimate]]) -> Estimate:
    """Add up the estimates of experiments that share a store: a step that several need counts once.

    Which steps compress a network's layers is known when its features are there: those of the same features, settings
    and folds count once.
    """
    counted: set[object] = set()
    seconds: dict[str, float] = {}
    networks: list[NetworkEstimate] = []
    disk = 0.0
    for plan, each in parts:
        config, extracted = plan.config, extraction_steps(plan)
        dump = config.model_dump_json(include={"compress", "folds", "seed", "delays", "variance_partitioning"})
        new: list[NetworkEstimate] = []
        uncompressed = 0
        share = _new_share([step.step_id for step in responses_steps(plan).values()], counted)
        disk += each.disk_bytes
        shares = {shown: _new_share([one.step_id for one in of.steps], counted) for shown, of in extracted.items()}
        start = each.seconds[EXTRACT] - sum(one.cost.seconds for one in each.networks)
        of_stage = dict(each.seconds) | {
            READ: each.seconds[READ] * share,
            EXTRACT: start if any(shares.values()) else 0.0,
        }
        for one in each.networks:
            of_stage[EXTRACT] += one.cost.seconds * shares[one.shown]
            disk -= one.cost.disk * (1 - shares[one.shown])
            key = tuple(step.step_id for step in extracted[one.shown].steps), one.pool, dump
            if key not in counted:
                new.append(one)
                uncompressed += len(one.features)
            elif one.stimuli_left:
                disk -= _compressed_bytes(plan, one)
            counted.add(key)
        n_layers = sum(len(one.features) for one in each.networks)
        for stage in (COMPRESS, JOIN):
            if stage in of_stage:
                of_stage[stage] *= uncompressed / max(1, n_layers)
        pairs = len(plan.pairs)
        of_stage[FIT] *= min(each.workers, pairs) / min(
            each.workers, pairs * len(parts)
        )  # side by side with the others'
        for stage, value in of_stage.items():
            seconds[stage] = seconds.get(stage, 0.0) + value
        networks += new
    all_of = [each for _, each in parts]
    return replace(
        all_of[0],
        n_train=max(each.n_train for each in all_of),
        n_test=max(each.n_test for each in all_of),
        n_pairs=sum(each.n_pairs for each in all_of),
        data=tuple(dict.fromkeys(line for each in all_of for line in each.data)),
        networks=tuple(networks),
        seconds=seconds,
        disk_bytes=int(max(disk, 0.0)),
        worker_bytes=max(each.worker_bytes for each in all_of),
        warnings=tuple(dict.fromkeys(line for each in all_of for line in each.warnings)),
        gpu_seconds=sum(each.gpu_seconds for each in all_of),
    )


def _new_share(steps: Sequence[StepId], counted: set[object]) -> float:
    """Return the share of steps that were not counted yet, and count them."""
    new = [step for step in steps if step not in counted]
    counted.update(new)
    return len(new) / max(1, len(steps))


def _compressed_bytes(plan: Plan, network: NetworkEstimate) -> float:
    """Return what the compressed layers of a network take on the disk."""
    config, n_train = plan.config, len(plan.dataset.train_stimuli)
    n, subsets = stimuli_compressed(plan), len(plan.excluded_folds(plan.n_folds))
    times = config.folds.repeats * len(plan.fold_tables) if config.compressed_in_folds else 1
    return times * sum(config.compress.cost(n, n_train, size, subsets).disk for size in network.features.values())
