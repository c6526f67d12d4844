"""All that the golden tests know of voxelcast's inside; what is renamed is mended here and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import MISSING, dataclass, fields, is_dataclass
from io import StringIO
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from unittest.mock import patch

import numpy as np
from threadpoolctl import threadpool_limits

EXECUTOR = "voxelcast.execution.workers.ProcessPoolExecutor"
"""What starts a worker process, as it is called where it is used."""


def write_video(path: Path, frames: np.ndarray, fps: int) -> None:
    """Write an mp4."""
    from voxelcast.stimuli.encode import write_video as write

    write(path, frames, fps)


def write_series(root: Path) -> None:
    """Write BOLD runs of two subjects, with events, motion and masks."""
    from tests.datasets.series_files import write_series as write

    write(root)


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str


def call(*arguments: object) -> Done:
    """Run ``voxelcast ARGUMENTS`` in this process."""
    from voxelcast.cli.main import main

    out, err, code = StringIO(), StringIO(), 0
    with patch.object(sys, "argv", ["voxelcast", *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


class _Here:
    """An executor that does the work in this process when it is handed in."""

    batches_left: int | None = None
    """How many batches of steps are done before the run is killed; None: it is not."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """There is nothing to start."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        if _Here.batches_left is not None:
            if _Here.batches_left == 0:
                raise KeyboardInterrupt
            _Here.batches_left -= 1
        done: Future[Any] = Future()
        try:
            done.set_result(function(*arguments))
        except Exception as error:
            done.set_exception(error)
        return done

    def shutdown(self, **options: Any) -> None:
        """There is nothing to end."""


@contextmanager
def in_process() -> Iterator[None]:
    """Run steps in this process on one thread, as in a worker, without the seconds that starting workers takes."""
    import scipy.linalg  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with patch(EXECUTOR, _Here), threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def killed_after(n_batches: int) -> Iterator[None]:
    """Kill the run inside the block when it has done so many batches of steps."""
    _Here.batches_left = n_batches
    try:
        yield
    finally:
        _Here.batches_left = None


def encoder_names() -> tuple[str, ...]:
    """All encoders."""
    from voxelcast.encoders.registry import list_encoders

    return tuple(list_encoders())


def experiment_settings() -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """All settings of an experiment file: the default of each, and its options where it has a fixed choice.

    Names are as in the file, ``search.method``; settings of one kind of dataset are ``dataset.KIND.NAME``, those of
    each network ``networks.NAME``.
    """
    from voxelcast.experiment.settings import ExperimentSettings

    return dict(_settings(ExperimentSettings, ""))


def rsa_settings() -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """All settings of a file of ``voxelcast rsa``, likewise."""
    from voxelcast.experiment.rsa import RsaSettings

    return dict(_settings(RsaSettings, ""))


def _settings(model: Any, prefix: str) -> Iterator[tuple[str, tuple[Any, tuple[Any, ...]]]]:
    from voxelcast.datasets.registry import DATASETS
    from voxelcast.datasets.settings import DatasetSettings

    for name, annotation, default in _fields(model):
        if name == "trunks":
            (_, annotation) = get_args(annotation)  # by the names that the user gives
        sections = [each for each in _leaves(annotation) if is_dataclass(each) or hasattr(each, "model_fields")]
        if sections == [DatasetSettings]:
            for kind in DATASETS:
                yield from _settings(DATASETS.get(kind).Settings, f"{prefix}{name}.{kind}.")
        elif sections:
            yield from _settings(sections[0], f"{prefix}{name}.")
        elif name != "kind":
            literals = [each for each in _leaves(annotation) if get_origin(each) is Literal]
            options = tuple(option for each in literals for option in get_args(each))
            yield f"{prefix}{name}", (default, options)


def _fields(model: Any) -> list[tuple[str, Any, Any]]:
    """Each field's name, annotation and default (None where it must be given)."""
    hints = get_type_hints(model, include_extras=True)
    if is_dataclass(model):
        return [
            (
                each.name,
                hints[each.name],
                each.default_factory()
                if each.default_factory is not MISSING
                else None
                if each.default is MISSING
                else each.default,
            )
            for each in fields(model)
        ]
    return [
        (name, hints[name], None if field.is_required() else field.get_default(call_default_factory=True))
        for name, field in model.model_fields.items()
    ]


def _leaves(annotation: Any) -> Iterator[Any]:
    """Take a type apart down to sections, literals and plain types."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _leaves(get_args(annotation)[0])
    elif origin in (Union, UnionType, tuple):
        for member in get_args(annotation):
            yield from _leaves(member)
    else:
        yield annotation
