"""The outputs of small experiments are those that were recorded: nothing may change a number.

``VOXELCAST_GOLDEN=bytes`` asks for the same bytes, on the machine that recorded.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from tests.golden import inside
from tests.golden.experiments import DUAL, EXACT, EXPERIMENTS
from tests.golden.outputs import RECORDED, Record, differences, read_record
from tests.golden.run import Workshop

RECORDED_WITH = {"SkylakeX", "GenuineIntel"}
"""OpenBLAS' kernels and the maker of the machine that recorded, by which other libraries choose theirs."""
_CPU = Path("/proc/cpuinfo")
SAME_BYTES = os.environ.get("VOXELCAST_GOLDEN") == "bytes"
RESUMED = "bayes_voxels_stacking"
AMPLIFIED = ("finetuned",)
"""Training of a whole network makes other numbers of other rounding: elsewhere only names and shapes are compared."""
NOT_SET = {
    "features_as": "rounding of its own; held against single precision in tests/experiment",
    **dict.fromkeys(
        (f"dataset.folder.{name}" for name in ("id_column", "trial_types", "conditions", "shared_stimuli")),
        "of studies in BIDS and other patterns of files; tested in tests/datasets",
    ),
    "name": "how an experiment is called changes no number",
    "models": "changes no number; what is saved is tested in tests/models",
    "compute.device": "changes no result, and there is one device here",
    "compute.gpus": "changes no result, and there are none here",
    "compute.keep_scratch": "changes no result; tested in tests/experiment",
    "dataset.time_series.hz": "another name of 1 / tr; tested in tests/datasets",
    "search.precision": "rounding of its own; held against double precision in tests/search",
    "search.stop": "changes no choice, and there are fewer components here; tested in tests/search",
    "readout.graphs": "changes no result, and there is no GPU here",
    "finetuned.graphs": "changes no result, and there is no GPU here",
    **dict.fromkeys(
        (
            *(f"dataset.algonauts{year}.folds" for year in (2021, 2023, 2025)),
            *(f"dataset.{kind}.folds" for kind in ("bold_moments", "simulated", "time_series")),
        ),
        "read as a folder's",
    ),
    "networks.padding": "of SimCLR, whose networks take long; both ways are tested in tests/networks",
    **dict.fromkeys(
        ("networks.tokens", "networks.clip_axes"),
        "of own networks and transformers', held against these in tests/networks",
    ),
    **dict.fromkeys(
        ("networks.texts", "networks.revision", "networks.trust_remote_code"),
        "of transformers, an extra, whose networks are held against transformers itself in tests/networks",
    ),
    **dict.fromkeys(
        (f"networks.sound.{name}" for name in ("hz", "look_back", "look_ahead", "channels", "missing")),
        "of sound, which no dataset here has; held against closed forms in tests/stimuli and tests/networks",
    ),
    "automl.seconds": "automatic machine learning runs against the clock",
    "automl.memory_mb": "automatic machine learning runs against the clock",
    "device": "of rsa: changes no result, and there is one device here",
}
OPTIONS_NOT_SET = {
    ("networks.takes", "sound"): "of transformers, an extra",
    ("networks.takes", "text"): "of transformers, an extra",
    ("dataset.algonauts2025.held_out", "ood"): "the miniature has no movies out of distribution",
    **{("delays", name): "of one stream in series_streams" for name in ("double_gamma", "double_gamma+derivative")},
    ("models", "none"): "changes no number",
    ("finetuned.average", "soup"): "as of readout",
    ("finetuned.loss", "noise_weighted"): "as of readout",
    ("compress.method", "umap"): "compiles for most of a minute; its components are tested in tests/features",
}
ENCODERS_NOT_SET = {
    "flaml": "runs against the clock",
    "autosklearn": "runs against the clock, in an environment of its own",
}


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """One folder for all experiments, which share datasets and finished steps."""
    return Workshop(tmp_path_factory.mktemp("golden"))


def tolerance(name: str) -> float:
    """How far numbers may differ: by single precision's rounding where libraries have other kernels."""
    kernels = {library.get("architecture") for library in threadpool_info() if library["internal_api"] == "openblas"}
    makers = re.findall(r"^vendor_id\s*:\s*(\w+)", _CPU.read_text(), re.MULTILINE) if _CPU.is_file() else []
    exact = EXPERIMENTS[name].tolerance
    if kernels | set(makers) == RECORDED_WITH:
        return exact
    return math.inf if name in AMPLIFIED else max(exact, 1e-4)


def check(name: str, found: Record) -> None:
    """Hold what was found against what was recorded."""
    said = differences(read_record(name), found, tolerance(name), same_bytes=SAME_BYTES)
    assert not said, f"golden experiment {name} differs from {RECORDED / name}:\n" + "\n".join(said)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if golden.slow else []) for name, golden in EXPERIMENTS.items()],
)
def test_outputs_are_those_recorded(workshop: Workshop, name: str) -> None:
    for package in EXPERIMENTS[name].needs:
        pytest.importorskip(package)
    check(name, workshop.run(name))


def test_a_run_killed_after_each_batch_of_steps_ends_with_the_outputs_recorded(workshop: Workshop) -> None:
    with workshop.entered():
        command = workshop.prepare(RESUMED, "stopped", "store-stopped")
        stopped = 0
        while True:
            with inside.killed_after(1):
                done = inside.call(*command)
            if done.code == 0:
                break
            assert done.code == 130, done.err
            stopped += 1
            assert stopped < 50
    assert stopped > 2
    check(RESUMED, workshop.read(RESUMED, "stopped"))


@pytest.mark.slow
def test_a_killed_process_ends_with_the_outputs_recorded_when_it_is_run_again(workshop: Workshop) -> None:
    """Worker processes of their own, one killed with its driver while steps are under way."""
    with workshop.entered():
        command = workshop.prepare(RESUMED, "killed", "store-killed")
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")])

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "voxelcast", *command],
            cwd=workshop.data.root,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    driver, store, end = start(), workshop.root / "store-killed", time.monotonic() + 120
    while len(list(store.rglob("DONE"))) < 2 and driver.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert driver.poll() is None, "the run was over before it could be killed"
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    again = start()
    _, said = again.communicate(timeout=300)
    assert again.returncode == 0, said
    check(RESUMED, workshop.read(RESUMED, "killed"))


def test_everything_recorded_is_compared() -> None:
    assert {path.name for path in RECORDED.iterdir()} == set(EXPERIMENTS)


def test_what_is_recorded_is_small() -> None:
    sizes = {path: path.stat().st_size for path in RECORDED.rglob("*") if path.is_file()}
    assert max(sizes.values()) < 300_000
    assert sum(sizes.values()) < 2_000_000


def test_only_what_torch_computes_in_single_precision_may_differ_by_more_than_rounding() -> None:
    loose = {name for name, golden in EXPERIMENTS.items() if golden.tolerance > DUAL}
    networks = {"autoencoder", "bfloat16", "finetuned", "mlp", "noisy_network", "readouts", "tensor_float32"}
    assert loose == networks | {"torch_networks", "trunks", "trunks_over_time"}


def _changed(record: Record, file: str, before: str, now: str) -> Record:
    assert before in record.texts[file]
    return replace(record, texts=record.texts | {file: record.texts[file].replace(before, now, 1)})


def test_a_difference_is_named_with_both_values() -> None:
    record = read_record("uncompressed")
    assert differences(record, record, EXACT, same_bytes=True) == []
    (row,) = csv.DictReader(io.StringIO(record.texts["scores.csv"]))
    score, value = row["score"], float(row["score"])
    (said,) = differences(record, _changed(record, "scores.csv", score, repr(value + 1e-9)), EXACT)
    assert said == f"scores.csv: row 1, score: recorded '{score}', found '{value + 1e-9!r}'"
    rounding = _changed(record, "scores.csv", score, repr(float(np.nextafter(value, 2))))
    assert differences(record, rounding, EXACT) == []
    assert len(differences(record, rounding, EXACT, same_bytes=True)) == 1
    (said,) = differences(record, _changed(record, "scores.csv", "all", "V1"), EXACT)
    assert "row 1, roi: recorded 'all', found 'V1'" in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.astype(np.float32), "float64"),
        (lambda a: a[:-1], "found float64"),
        (lambda a: np.where(np.arange(a.size).reshape(a.shape) == 1, np.nan, a), "found np.float64(nan)"),
        (lambda a: a + 1e-9, "more)"),
    ],
    ids=["type", "shape", "nan", "value"],
)
def test_a_changed_array_is_named(change: Any, words: str) -> None:
    record = read_record("uncompressed")
    name = "predictions/ann_all.npy"
    found = replace(record, arrays=record.arrays | {name: change(record.arrays[name])})
    (said,) = differences(record, found, EXACT)
    assert said.startswith(f"{name}: ")
    assert words in said
    less = replace(record, arrays={k: a for k, a in record.arrays.items() if k != name})
    assert differences(record, less, EXACT) == [f"{name}: this array was recorded and is not there"]
    assert differences(less, record, EXACT) == [f"{name}: this array is there and was not recorded"]


def _chosen(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All settings of an experiment by their names in `tests.golden.inside.experiment_settings`."""
    for name, value in settings.items():
        here = f"{prefix}{name}"
        if here == "networks":
            for network in value:
                yield from _chosen(network, "networks.")
        elif here == "trunks":
            for trunk in value.values():
                yield from _chosen(trunk, "trunks.")
        elif here == "dataset":
            yield from _chosen({k: v for k, v in value.items() if k != "kind"}, f"dataset.{value['kind']}.")
        elif isinstance(value, Mapping) and here in ("compress", "frames", *SECTIONS):
            yield from _chosen(value, f"{here}.")
        else:
            yield here, value


SECTIONS = (
    *(
        "automl",
        "readout",
        "finetuned",
        "search",
        "selection",
        "ensemble",
        "share",
        "folds",
        "interval",
        "significance",
    ),
    *("variance_partitioning", "compute"),
)


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("command", ["run", "rsa"])
def test_every_setting_is_set_somewhere(command: str) -> None:
    known = inside.experiment_settings() if command == "run" else inside.rsa_settings()
    if command == "rsa":
        known = {name: field for name, field in known.items() if not name.startswith("networks.")}
    values: dict[str, list[Any]] = {}
    for golden in EXPERIMENTS.values():
        if golden.command == command:
            for name, value in _chosen(golden.settings):
                values.setdefault(name, []).append(value)
    not_set, no_such = [], [name for name in NOT_SET if "." in name and command == "run" and name not in known]
    for name, (default, options) in known.items():
        if name in NOT_SET:
            continue
        if all(_plain(value) == _plain(default) for value in values.get(name, [])):
            not_set.append(name)
        of_choice = [option for option in options if option != default and option not in ("all", "max")]
        not_set += [
            f"{name}={option}"
            for option in of_choice
            if option not in values.get(name, []) and (name, option) not in OPTIONS_NOT_SET
        ]
    assert not_set == [], "add these to an experiment of tests/golden/experiments.py, or a reason to NOT_SET"
    assert no_such == []


def test_every_encoder_is_used_somewhere() -> None:
    used = {name for golden in EXPERIMENTS.values() for name in golden.settings.get("encoders", [])}
    assert set(inside.encoder_names()) - used == set(ENCODERS_NOT_SET)
