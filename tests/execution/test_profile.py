from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from voxelcast.core.errors import ConfigError, MissingFileError, OptionError
from voxelcast.execution.opening import worker_device, worker_slots
from voxelcast.execution.profile import (
    SCHEDULERS,
    LocalProfile,
    SlurmProfile,
    find_profile,
    load_profile,
    profile_template,
)

WORKERS = {"jobs": 3, "cores": 2, "memory": "8GB", "time": "01:00:00"}
SLURM: dict[str, Any] = {"scheduler": "slurm", "shared_folder": "/shared", "workers": WORKERS}


def write(tmp_path: Path, raw: object) -> Path:
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_templates_are_profiles_as_they_are_and_with_everything_uncommented(scheduler: str, tmp_path: Path) -> None:
    text = profile_template(scheduler)
    path = tmp_path / "p.yaml"
    path.write_text(text)
    plain = load_profile(path)
    assert plain.scheduler == scheduler
    commented = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    settings = [line for line in commented if ":" in line and line.split("#")[1].strip().split(":")[0].isidentifier()]
    items = [line for line in commented if line.split("#")[1].strip().startswith("- ")]
    whole = [line.replace("# ", "", 1) if line in settings + items else line for line in text.splitlines()]
    path.write_text("\n".join(whole))
    assert load_profile(path) != plain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheduler": "pbs"}, "scheduler must be one of local, slurm, grid-engine, google; got 'pbs'"),
        ({"works": 1}, "works is not a setting; did you mean workers"),
        ({"workers": WORKERS | {"memory": 8}}, "workers.memory"),
        (
            {"workers": WORKERS | {"memory": "lots"}},
            "workers.memory: must be a number and a unit, e.g. 8GB; got 'lots'",
        ),
        ({"workers": WORKERS | {"time": "2h"}}, "workers.time: must be hours:minutes:seconds"),
        ({"workers": WORKERS | {"partition": "x"}}, "workers.partition is not a setting; allowed here: jobs"),
        ({"workers": {"jobs": 1, "time": "01:00:00"}}, "workers.memory is missing; add it"),
        ({"retries": -1}, "retries: must be greater than or equal to 0"),
        (
            {"scheduler": "grid-engine", "gpu_workers": WORKERS | {"cores": 4, "gpus": 1}},
            "gpus must be a multiple of cores",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_line(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_profile(write(tmp_path, SLURM | change))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_profiles_are_found_here_and_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    with pytest.raises(MissingFileError, match="voxelcast execution init"):
        find_profile("lab")
    home = tmp_path / "home" / "voxelcast" / "lab.yaml"
    home.parent.mkdir(parents=True)
    home.write_text("")
    assert find_profile("lab") == home
    Path("lab.yaml").write_text("")
    assert find_profile("lab") == Path("lab.yaml")
    assert find_profile(str(home)) == home


def test_the_profiles_in_the_docs_are_profiles(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "clusters.md"
    blocks = re.findall(r"^( *)```yaml\n(.*?)^ *```", page.read_text(), flags=re.M | re.S)
    assert len(blocks) == 2
    for _, block in blocks:
        (tmp_path / "p.yaml").write_text(textwrap.dedent(block))
        assert load_profile(tmp_path / "p.yaml")


def test_an_unknown_template_is_refused() -> None:
    with pytest.raises(OptionError, match="scheduler must be one of"):
        profile_template("pbs")


def test_extraction_goes_to_the_gpus_there_are() -> None:
    cpu = SlurmProfile.model_validate(SLURM)
    assert worker_device(cpu, "cpu") == "cpu"
    with pytest.raises(ConfigError, match="no workers with GPUs"):
        worker_device(cpu, "cuda")
    both = SlurmProfile.model_validate(SLURM | {"gpu_workers": WORKERS | {"gpus": 1}})
    assert worker_device(both, "cpu") == "cuda"
    assert worker_device(LocalProfile(scheduler="local"), "mps") == "mps"
    assert (worker_slots(both), both.of("gpu").processes, both.of("cpu").processes) == (6, 1, 2)
