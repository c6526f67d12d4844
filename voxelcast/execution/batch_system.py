"""Workers that are jobs of Slurm or Grid Engine, through dask-jobqueue."""

from __future__ import annotations

import re
import shlex
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dask.utils import parse_bytes
from dask_jobqueue.sge import SGECluster, SGEJob
from dask_jobqueue.slurm import SLURMCluster, SLURMJob
from distributed.security import Security

from voxelcast.core.errors import ExecutionError
from voxelcast.execution.dask_engine import WORKER_ENVIRONMENT, DaskEngine, Pool
from voxelcast.execution.engine import Kind
from voxelcast.execution.jobs import Jobs, last_lines
from voxelcast.execution.profile import GridEngineProfile, JobWorkers, SlurmProfile
from voxelcast.store.atomic import read_json, write_json

_RECORD = "jobs.json"
_LOOK_SECONDS = 10.0  # between looks at the queue while workers are missing
_GRACE_SECONDS = 9.0  # from a job's end to the moment its worker is thought never to come
_IDLE_SECONDS = 60  # in which a worker that finds no driver ends itself
_MOST_FAILED_STARTS = 3


class BatchSystemEngine(DaskEngine):
    """An engine over jobs, whose name is noted in ``output``, so that the next run can cancel what a killed one left.

    Raises ExecutionError if the batch system's commands are not there or do not answer.
    """

    def __init__(self, profile: SlurmProfile | GridEngineProfile, output: Path, note: Callable[[str], None]) -> None:
        super().__init__(profile.scheduler, note)
        self.profile = profile
        self.logs = profile.shared_folder.expanduser().resolve() / "logs"
        self.jobs = Jobs(profile.scheduler, f"voxelcast-{uuid.uuid4().hex[:8]}")
        self.jobs.check_commands()
        self._record = output / _RECORD
        self._submitted: dict[str, str] = {}  # worker -> job
        self._refusals: list[str] = []
        self._failed_starts = 0
        self._looked: dict[Kind, float] = {}
        self._gone_since: dict[str, float] = {}
        if self._record.is_file():
            left = read_json(self._record)
            if left["scheduler"] == profile.scheduler and (n := Jobs(left["scheduler"], left["name"]).cancel()):
                note(f"{profile.scheduler}: {n} jobs that an earlier run left were cancelled")
            self._record.unlink()
        self.logs.mkdir(parents=True, exist_ok=True)
        output.mkdir(parents=True, exist_ok=True)
        write_json(self._record, {"scheduler": profile.scheduler, "name": self.jobs.name})

    def _size(self, kind: Kind) -> tuple[int, int]:
        workers = self.profile.of(kind)
        return workers.jobs, workers.processes

    def _start(self, kind: Kind) -> Any:
        options = job_options(self.profile, kind, self.jobs.name, self.logs)
        cluster_class, job_class = (
            (SLURMCluster, SLURMJob) if isinstance(self.profile, SlurmProfile) else (SGECluster, SGEJob)
        )
        return cluster_class(
            job_cls=self._recording(job_class),
            name=f"{self.jobs.name}-{kind}",
            security=Security.temporary(),
            shared_temp_directory=str(self.logs),
            scheduler_options={"dashboard": False, "dashboard_address": None},
            **options,
        )

    def _recording(self, job_class: type[Any]) -> type[Any]:
        """Return a job class that reports the jobs submitted and refused to this engine."""
        engine = self

        class Recorded(job_class):  # type: ignore[misc]
            async def _submit_job(self, script_filename: str) -> str:
                try:
                    said: str = await super()._submit_job(script_filename)
                except RuntimeError as error:
                    # What the command itself said, out of dask-jobqueue's message.
                    reason = str(error).partition("stderr:\n")[2] or str(error)
                    engine._refusals.append(" ".join(reason.split()))
                    raise
                engine._submitted[str(self.name)] = self._job_id_from_submit_output(said)
                return said

        return Recorded

    def _adapt(self, cluster: Any, n: int) -> None:
        cluster.adapt(minimum_jobs=n, maximum_jobs=n)
        self.note(f"{self.name}: {n} jobs asked for, named {self.jobs.name}; their logs are in {self.logs}")

    def _check(self, kind: Kind, pool: Pool, alive: int) -> None:
        if self._refusals:
            raise ExecutionError(refused(self.name, self._refusals[0], self.profile.of(kind)))
        now = time.monotonic()
        wanted = pool.asked * self._size(kind)[1]
        if alive >= wanted or now - self._looked.get(kind, 0.0) < _LOOK_SECONDS:
            return
        self._looked[kind] = now
        queued = set(self.jobs.ids())
        present = {str(info["name"]) for info in pool.client.scheduler_info(n_workers=-1)["workers"].values()}
        for name in list(pool.cluster.worker_spec):
            job = self._submitted.get(str(name))
            came = any(one == str(name) or one.startswith(f"{name}-") for one in present)
            if job is None or job in queued or came:
                self._gone_since.pop(str(name), None)
            elif now - self._gone_since.setdefault(str(name), now) >= _GRACE_SECONDS:
                self._replace_failed(pool, name, job, alive)

    def _replace_failed(self, pool: Pool, name: str, job: str, alive: int) -> None:
        """Have a job replaced that ended before its worker arrived; give up when that happens again and again."""
        self._failed_starts += 1
        said = last_lines(self.logs, job, self.jobs.name) or "its log is empty"
        if self._failed_starts >= _MOST_FAILED_STARTS and not alive:
            raise ExecutionError(
                f"{self._failed_starts} jobs ended before their workers reached this process; job {job} said: {said}; "
                f"check setup, python and interface of the profile (logs are in {self.logs})"
            )
        self.note(f"{self.name}: job {job} ended before its worker arrived ({said}); asking for another")
        del self._gone_since[str(name)]
        pool.cluster.sync(_forget, pool.cluster, name)

    def _loss_reason(self, worker: str) -> str:
        job = self._submitted.get(worker) or self._submitted.get(worker.rpartition("-")[0], "?")
        said = last_lines(self.logs, job, self.jobs.name)
        end = f"ends: {said}" if said else "is empty"
        return f"its worker was lost ({self.name} job {job}, whose log in {self.logs} {end})"

    def __exit__(self, *how: Any) -> None:
        super().__exit__(*how)
        try:
            self.jobs.cancel()  # whatever was submitted a moment before
        except ExecutionError as error:
            if how[0] is None:
                raise
            self.note(str(error))  # the record stays, for the next run to cancel them
        else:
            self._record.unlink(missing_ok=True)


def refused(scheduler: str, said: str, workers: JobWorkers) -> str:
    """Say in a line why a job was refused, and by which directive where the batch system's words fit one.

    Of the profile's directives those are named of which an option (``--qos``) or a value (``low``) is in what the batch
    system said; where it complains of a node's name, those that name nodes; otherwise all of them.
    """
    nodes = re.search(r"node ?(name|list)", said, flags=re.I)
    named = [
        directive
        for directive in workers.directives
        if any(
            re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", said)
            for word in re.split(r"[=\s,]+", directive)
            if word
        )
        or (nodes and re.match(r"(--exclude|--nodelist|-x|-w|-l hostname)", directive))
    ]
    shown = ", ".join(named or workers.directives)
    culprit = f"check the directive {shown}" if len(named) == 1 else "check queue, account, time, memory and directives"
    listed = f" ({shown})" if shown and len(named) != 1 else ""
    unknown = "; it names machines that this cluster does not have" if nodes and named else ""
    return f"{scheduler} refused a job: {said}; {culprit}{listed} of the profile{unknown}"


def job_options(profile: SlurmProfile | GridEngineProfile, kind: Kind, name: str, logs: Path) -> dict[str, Any]:
    """Express a profile's workers as dask-jobqueue's options."""
    workers = profile.of(kind)
    environment = WORKER_ENVIRONMENT | {"VOXELCAST_CORES": str(max(1, workers.cores // workers.processes))}
    exports = [f"export {variable}={shlex.quote(value)}" for variable, value in environment.items()]
    options: dict[str, Any] = {
        "cores": workers.processes,  # one thread of Dask's for each step that runs
        "processes": workers.processes,
        "memory": workers.memory,
        "walltime": workers.time,
        "queue": workers.queue,
        "job_name": name,
        "log_directory": str(logs),
        "local_directory": profile.local_folder,
        "interface": profile.interface,
        "python": profile.python or sys.executable,
        "death_timeout": _IDLE_SECONDS,
        "job_script_prologue": [*workers.setup, *exports],
        "worker_extra_args": ["--no-dashboard"],
    }
    if isinstance(profile, SlurmProfile):
        gres = [f"--gres=gpu:{workers.gpus}"] if workers.gpus else []
        return options | {
            "account": workers.account,
            "job_cpu": workers.cores,
            "job_extra_directives": [*gres, *workers.directives],
        }
    return options | {
        "project": workers.account,
        "resource_spec": ",".join(_grid_engine_resources(profile, workers)) or None,
        "job_extra_directives": [
            *([f"-pe {profile.parallel_environment} {workers.cores}"] if workers.cores > 1 else []),
            *workers.directives,
        ],
    }


def _grid_engine_resources(profile: GridEngineProfile, workers: JobWorkers) -> list[str]:
    """List what goes on the ``-l`` line; Grid Engine counts these for each core."""
    wanted = []
    if profile.memory_resource:
        megabytes = -(-int(parse_bytes(workers.memory)) // 2**20)
        wanted.append(f"{profile.memory_resource}={-(-megabytes // workers.cores)}M")
    if workers.gpus:
        wanted.append(f"{profile.gpu_resource}={workers.gpus // workers.cores}")
    return wanted


async def _forget(cluster: Any, name: Any) -> None:
    """Take a job off a cluster's books, upon which it asks for another."""
    cluster.worker_spec.pop(name, None)
    cluster.workers.pop(name, None)
