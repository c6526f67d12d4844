"""Google Cloud without Google Cloud: a stand-in of its API that starts each machine's container as a process here.

Requests are made by Google's own client from the discovery document it carries, and checked against that document's
schemas. The stand-in's machines run the command of the cloud-init that they were sent, so that Dask, its encryption,
the adaptive scaling and our clearing up are the real ones. What this cannot show: that Google accepts the requests.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
import yaml

from tests.execution.calls import steps
from voxelcast.core.errors import ExecutionError
from voxelcast.core.progress import Silent
from voxelcast.execution.opening import open_engine
from voxelcast.execution.profile import GoogleProfile, load_profile, profile_template
from voxelcast.execution.stage import StageRunner
from voxelcast.store.result import ResultWriter
from voxelcast.store.steps import StepStore

discovery = pytest.importorskip("googleapiclient.discovery", reason="needs pip install 'voxelcast[google]'")
instances = pytest.importorskip("dask_cloudprovider.gcp.instances", reason="needs pip install 'voxelcast[google]'")


def check_schema(value: Any, schema: dict[str, Any], schemas: dict[str, Any], where: str) -> None:
    """Check a request's body against the discovery document: every name is known, every type right.

    Google's JSON admits strings for booleans and numbers.
    """
    if "$ref" in schema:
        schema = schemas[schema["$ref"]]
    kind = schema["type"]
    if kind == "object":
        assert isinstance(value, dict), where
        for name, inner in value.items():
            known = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            assert known, f"{where}.{name} is not in the discovery document"
            check_schema(inner, known, schemas, f"{where}.{name}")
    elif kind == "array":
        assert isinstance(value, list), where
        for place, inner in enumerate(value):
            check_schema(inner, schema["items"], schemas, f"{where}[{place}]")
    elif kind == "boolean":
        assert value in (True, False, "true", "false"), where
    elif kind == "integer":
        assert re.fullmatch(r"\d+", str(value)), where
    else:
        assert isinstance(value, str), where
        assert value in schema.get("enum", [value]), f"{where}: {value}"


@dataclass
class Compute:
    """The stand-in: what was asked of it, and its machines as processes."""

    document: dict[str, Any]
    inserted: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    machines: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    logs: Path = Path()

    def request(self, uri: str, method: str = "GET", body: Any = None, headers: Any = None, **_: Any) -> Any:
        """Answer as httplib2 would."""
        import httplib2

        url = urlparse(uri)
        where = re.fullmatch(r"/compute/v1/projects/my-project/zones/europe-west4-a/instances(?:/(.+))?", url.path)
        assert where, uri
        if method == "POST":
            answer = self.insert(json.loads(body))
        elif method == "DELETE":
            answer = self.delete(str(where[1]))
        else:
            answer = self.listed(parse_qs(url.query)["filter"][0])
        return httplib2.Response({"status": "200", "content-type": "application/json"}), json.dumps(answer).encode()

    def insert(self, body: dict[str, Any]) -> dict[str, str]:
        check_schema(body, {"$ref": "Instance"}, self.document["schemas"], "Instance")
        self.inserted.append(body)
        (text,) = [item["value"] for item in body["metadata"]["items"] if item["key"] == "user-data"]
        (line,) = [line for line in yaml.safe_load(text)["runcmd"] if "docker run" in line]
        options, command = line.split(" voxelcast-image ", 1)
        variables = dict(re.findall(r'-e (\w+)="([^"]*)"', options))
        environment = os.environ | variables | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        with (self.logs / f"{body['name']}.log").open("wb") as log:
            self.machines[body["name"]] = subprocess.Popen(
                ["bash", "-c", command], env=environment, stdout=log, stderr=log, start_new_session=True
            )
        return {"id": "1"}

    def delete(self, name: str) -> dict[str, str]:
        self.deleted.append(name)
        self.end(self.machines.pop(name))
        return {}

    @staticmethod
    def end(machine: subprocess.Popen[bytes]) -> None:
        if machine.poll() is None:
            os.killpg(machine.pid, signal.SIGKILL)
        machine.wait()

    def listed(self, asked: str) -> dict[str, Any]:
        name, _, value = asked.partition("=")
        found = [
            body
            for body in self.inserted
            if body["name"] in self.machines
            and value == (body["name"] if name == "name" else body["labels"].get(name.removeprefix("labels.")))
        ]
        interface = {"networkIP": "127.0.0.1", "accessConfigs": [{"natIP": "127.0.0.1"}]}
        return {"items": [{"name": b["name"], "status": "RUNNING", "networkInterfaces": [interface]} for b in found]}


@pytest.fixture
def compute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Compute]:
    folder = Path(discovery.__file__).parent / "discovery_cache" / "documents"
    standin = Compute(json.loads((folder / "compute.v1.json").read_text()), logs=tmp_path)
    client = discovery.build_from_document(standin.document, http=standin)
    monkeypatch.setattr(instances.GCPCompute, "refresh_client", lambda self: client)
    monkeypatch.setattr(instances, "is_inside_gce", lambda: False)
    yield standin
    for machine in standin.machines.values():
        standin.end(machine)


@pytest.fixture
def profile(tmp_path: Path) -> GoogleProfile:
    """The template, filled in for the stand-in."""
    raw = yaml.safe_load(profile_template("google"))
    raw |= {"image": "voxelcast-image", "shared_folder": str(tmp_path), "setup": ["mount /mnt/voxelcast"]}
    raw["workers"] = {"machines": 2, "machine_type": "n2-standard-2", "memory": "1GB", "preemptible": True}
    gpu = {"gpus": 1, "gpu_type": "nvidia-tesla-t4", "machine_type": "n1-standard-8", "memory": "28GB", "machines": 1}
    raw["gpu_workers"] = gpu
    (tmp_path / "google.yaml").write_text(yaml.safe_dump(raw))
    found = load_profile(tmp_path / "google.yaml")
    assert isinstance(found, GoogleProfile)
    return found


def write_host(writer: ResultWriter, *, value: int) -> None:
    writer.text("value", f"{value} {os.environ['OMP_NUM_THREADS']}")


def fatal(writer: ResultWriter, *, value: int) -> None:
    mark = writer.path.parents[2] / "died"
    if value == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    write_host(writer, value=value)


@pytest.mark.slow
def test_steps_run_on_machines_that_are_deleted_afterwards(
    compute: Compute, profile: GoogleProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    store = StepStore(tmp_path / "steps")
    made = steps(fatal, range(8))
    notes: list[str] = []
    with open_engine(profile, 1, tmp_path / "out", notes.append) as engine:
        assert StageRunner(engine, store, Silent()).run("test", made) == 8
        assert json.loads((tmp_path / "out" / "machines.json").read_text())["zone"] == "europe-west4-a"
    assert [store.read(s.step_id).text("value") for s in made] == [f"{v} 1" for v in range(8)]
    assert compute.machines == {}
    assert sorted(compute.deleted) == sorted(body["name"] for body in compute.inserted)
    assert not (tmp_path / "out" / "machines.json").exists()

    scheduler, *workers = compute.inserted
    assert len(workers) >= 2
    assert scheduler["machineType"] == "zones/europe-west4-a/machineTypes/e2-standard-2"
    assert scheduler["scheduling"]["preemptible"] == "false"
    for worker in workers:
        assert worker["machineType"] == "zones/europe-west4-a/machineTypes/n2-standard-2"
        assert worker["scheduling"]["preemptible"] == "true"
        (text,) = [item["value"] for item in worker["metadata"]["items"] if item["key"] == "user-data"]
        assert "- mount /mnt/voxelcast" in text
        assert f"--volume {tmp_path}:{tmp_path}" in text
    assert len({body["labels"]["voxelcast-run"] for body in compute.inserted}) == 1


def test_gpus_are_asked_for(profile: GoogleProfile) -> None:
    from voxelcast.execution.google import cluster_options

    options = cluster_options(profile, "gpu", "abc")
    assert (options["worker_ngpus"], options["worker_gpu_type"]) == (1, "nvidia-tesla-t4")
    assert (options["scheduler_ngpus"], options["instance_labels"]["voxelcast-run"]) == (0, "abc")
    assert cluster_options(profile, "cpu", "abc")["worker_ngpus"] == 0


def test_missing_credentials_are_said_in_words(profile: GoogleProfile, tmp_path: Path, monkeypatch: Any) -> None:
    def refuse(self: Any) -> None:
        raise instances.GCPCredentialsError

    monkeypatch.setattr(instances.GCPCompute, "refresh_client", refuse)
    with (
        pytest.raises(ExecutionError, match="gcloud auth application-default login"),
        open_engine(profile, 1, tmp_path / "out", lambda _: None) as engine,
    ):
        engine.prepare("cpu", 1, tmp_path)
