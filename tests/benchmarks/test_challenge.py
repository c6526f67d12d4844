"""What the challenge's benchmark reads and watches is what is there."""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks.challenge import Challenge, read_stages, tree_use, watching
from tests.experiment.miniature import run, settings, write_dataset
from voxelcast.execution.journal import read_journal
from voxelcast.experiment.planning.stages import COMPRESS, EXTRACT, FIT, READ, REPORT, RESULTS
from voxelcast.experiment.settings_file import parse_config


def test_stages_are_those_of_the_run_with_what_their_steps_wrote(tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(settings(write_dataset(tmp_path / "data"), compute={"workers": 1, "keep_scratch": True}), output)
    stages = {stage.what: stage for stage in read_stages(output, {})}
    assert {READ, EXTRACT, COMPRESS, FIT, RESULTS, REPORT} <= stages.keys()
    files = [path for path in (output / "steps").glob("*/*/*") if path.name != "DONE"]
    assert sum(stage.n_bytes for stage in stages.values()) == sum(path.stat().st_size for path in files)
    assert sum(stage.n_files for stage in stages.values()) == len(list((output / "steps").glob("*/*/*")))
    times = [float(str(line["time"])) for line in read_journal(output)]
    assert 0 < sum(stage.seconds for stage in stages.values()) <= times[-1] - times[0] + 0.1
    assert all(stages[what].announced is not None for what in (FIT, RESULTS, REPORT))


def test_the_peak_of_a_folder_and_of_processes_is_seen(tmp_path: Path) -> None:
    with watching(tmp_path) as watch:
        watch.pid = os.getpid()
        (tmp_path / "big").write_bytes(bytes(100_000))
        time.sleep(1.2)
        (tmp_path / "big").unlink()
    assert (watch.disk, watch.files) == (100_000, 1)
    assert tree_use(os.getpid())[0] > 20_000_000 < watch.memory
    assert 0 < watch.computed <= sum(os.times()[:4]) + 0.1


def test_settings_are_an_experiment_at_any_size(tmp_path: Path) -> None:
    case = Challenge(subjects=2, videos=60, layers=("maxpool", "layer1"), workers=1)
    config = parse_config(case.experiment(tmp_path), "challenge")
    assert config.features_as == "float16"
    assert case.simulate(tmp_path)[-4:] == ["--test", "6", "--train", "54"]
