"""Workers that are virtual machines of Google Cloud, through dask-cloudprovider."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dask_cloudprovider.gcp.instances import GCPCluster
from googleapiclient.errors import HttpError

from voxelcast.core.errors import ExecutionError
from voxelcast.execution.dask_engine import WORKER_ENVIRONMENT, DaskEngine, Pool
from voxelcast.execution.engine import Kind
from voxelcast.execution.profile import GoogleProfile
from voxelcast.store.atomic import write_json

_RECORD = "machines.json"
_RUN_LABEL = "voxelcast-run"  # on every machine of a run, so that they can be found after a kill


class GoogleEngine(DaskEngine):
    """An engine over virtual machines.

    Dask's scheduler runs on a machine of its own beside the workers; this process may be anywhere that reaches it and
    the shared folder.

    Parameters
    ----------
    profile : GoogleProfile
    output : Path
        Where the run's label is noted, so that the next run can delete the machines that a killed one left.
    note : callable
    """

    def __init__(self, profile: GoogleProfile, output: Path, note: Callable[[str], None]) -> None:
        super().__init__("google", note)
        self.profile = profile
        self._label = uuid.uuid4().hex[:8]
        self._record = output / _RECORD
        self._compute: Any = None
        if self._record.is_file():
            left = json.loads(self._record.read_text())
            n = delete_machines(_connect(), left["project"], left["zone"], left["label"])
            if n:
                note(f"google: {n} machines that an earlier run left were deleted")
        output.mkdir(parents=True, exist_ok=True)
        write_json(self._record, {"project": profile.project, "zone": profile.zone, "label": self._label})

    def _size(self, kind: Kind) -> tuple[int, int]:
        workers = self.profile.of(kind)
        return workers.machines, workers.processes

    def _start(self, kind: Kind) -> Any:
        cluster = GCPCluster(**cluster_options(self.profile, kind, self._label))
        self._compute = cluster.compute
        return cluster

    def _adapt(self, cluster: Any, n: int) -> None:
        cluster.adapt(minimum=n, maximum=n)
        self.note(f"google: {n} machines asked for, labelled {_RUN_LABEL}={self._label}")

    def _check(self, kind: Kind, pool: Pool, alive: int) -> None:
        """Trust in the cloud: a machine that cannot be had is an error of the request, which Dask reports."""

    def _obituary(self, worker: str) -> str:
        return f"its worker was lost (machine {worker}: preempted, deleted or out of memory)"

    def __exit__(self, *how: Any) -> None:
        super().__exit__(*how)
        if self._compute is not None:
            delete_machines(self._compute, self.profile.project, self.profile.zone, self._label)
        self._record.unlink(missing_ok=True)
