"""Workers that are virtual machines of Google Cloud, through dask-cloudprovider."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
from dask_cloudprovider.gcp.instances import GCPCluster, GCPCompute, GCPCredentialsError
from googleapiclient.errors import HttpError

from voxelcast.core.errors import ExecutionError
from voxelcast.execution.dask_engine import WORKER_ENVIRONMENT, DaskEngine, Pool
from voxelcast.execution.engine import Kind
from voxelcast.execution.profile import GoogleProfile
from voxelcast.store.atomic import read_json, write_json

_RECORD = "machines.json"
_ARRIVAL_SECONDS = 1200.0  # a machine that installs Docker and loads an image of some GB takes minutes
_RUN_LABEL = "voxelcast-run"  # on every machine of a run, so that they can be found after a kill


class GoogleEngine(DaskEngine):
    """An engine over virtual machines.

    Dask's scheduler runs on a machine of its own beside the workers; this process may be anywhere that reaches it and
    the shared folder. The run's label is noted in ``output``, so that the next run can delete the machines that a
    killed one left.
    """

    def __init__(self, profile: GoogleProfile, output: Path, note: Callable[[str], None]) -> None:
        super().__init__("google", note)
        self.profile = profile
        self._label = uuid.uuid4().hex[:8]
        self._record = output / _RECORD
        self._waiting_since: dict[Kind, float] = {}
        if self._record.is_file():
            left = read_json(self._record)
            if n := delete_machines(left["project"], left["zone"], left["label"]):
                note(f"google: {n} machines that an earlier run left were deleted")
        output.mkdir(parents=True, exist_ok=True)
        write_json(self._record, {"project": profile.project, "zone": profile.zone, "label": self._label})

    def _size(self, kind: Kind) -> tuple[int, int]:
        return self.profile.of(kind).machines, 1

    def _start(self, kind: Kind) -> Any:
        self.note("google: starting the scheduler's machine (minutes)")
        dask.config.set({"cloudprovider.gcp.public_ingress": self.profile.public_addresses})
        try:
            return GCPCluster(**cluster_options(self.profile, kind, self._label))
        except GCPCredentialsError as error:
            raise _no_credentials() from error
        except RuntimeError as error:
            raise ExecutionError(
                f"Google Cloud did not start the scheduler's machine: {error}; check project, zone, network, "
                "source_image and quota"
            ) from error

    def _adapt(self, cluster: Any, n: int) -> None:
        cluster.adapt(minimum=n, maximum=n)
        self.note(f"google: {n} machines asked for, labelled {_RUN_LABEL}={self._label}")

    def _check(self, kind: Kind, pool: Pool, alive: int) -> None:
        now = time.monotonic()
        if alive:
            self._waiting_since.pop(kind, None)
        elif now - self._waiting_since.setdefault(kind, now) > _ARRIVAL_SECONDS:
            raise ExecutionError(
                f"no worker came within {_ARRIVAL_SECONDS / 60:.0f} min; see what its machine says: gcloud compute "
                f"instances list --filter labels.{_RUN_LABEL}={self._label}, then get-serial-port-output; check quota, "
                "image, setup lines and firewall (tcp 8786)"
            )

    def _loss_reason(self, worker: str) -> str:
        return f"its worker was lost (machine {worker}: preempted, deleted, or out of memory)"

    def __exit__(self, *how: Any) -> None:
        started = bool(self._pools)
        super().__exit__(*how)
        if started:
            delete_machines(self.profile.project, self.profile.zone, self._label)
        self._record.unlink(missing_ok=True)


def cluster_options(profile: GoogleProfile, kind: Kind, label: str) -> dict[str, Any]:
    """Express a profile's machines as dask-cloudprovider's options."""
    workers, folder = profile.of(kind), profile.shared_folder
    return {
        "projectid": profile.project,
        "zone": profile.zone,
        "network": profile.network,
        "source_image": profile.source_image,
        "docker_image": profile.image,
        "docker_args": f"--volume {folder}:{folder}",
        "extra_bootstrap": list(profile.setup),
        "scheduler_machine_type": profile.scheduler_machine_type,
        "worker_machine_type": workers.machine_type,
        "scheduler_ngpus": 0,
        "worker_ngpus": workers.gpus,
        "worker_gpu_type": workers.gpu_type,
        "filesystem_size": profile.disk_gb,
        "preemptible": workers.preemptible,
        "service_account": profile.service_account,
        "instance_labels": {**profile.labels, _RUN_LABEL: label},
        "env_vars": dict(WORKER_ENVIRONMENT),
        "worker_options": {"nthreads": 1, "memory_limit": workers.memory},
        "security": True,
    }


def delete_machines(project: str, zone: str, label: str) -> int:
    """Delete the machines of a run, if there are any, and return how many there were."""
    try:
        instances = GCPCompute().instances()
        listed = instances.list(project=project, zone=zone, filter=f"labels.{_RUN_LABEL}={label}").execute()
        names = [item["name"] for item in listed.get("items", [])]
        for name in names:
            instances.delete(project=project, zone=zone, instance=name).execute()
    except GCPCredentialsError as error:
        raise _no_credentials() from error
    except HttpError as error:
        raise ExecutionError(
            f"Google Cloud did not delete the machines labelled {_RUN_LABEL}={label} ({error.reason}); delete them in "
            "the console, for they cost money"
        ) from error
    return len(names)


def _no_credentials() -> ExecutionError:
    return ExecutionError(
        "Google Cloud has no credentials on this machine; run gcloud auth application-default login, or set "
        "GOOGLE_APPLICATION_CREDENTIALS to a service account's key file"
    )
