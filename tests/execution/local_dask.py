"""The Dask engine over worker processes of this machine: what schedulers' engines do, without a scheduler."""

from __future__ import annotations

from typing import Any

from distributed import LocalCluster

from voxelcast.execution.dask_engine import WORKER_ENVIRONMENT, DaskEngine, Pool
from voxelcast.execution.engine import Kind


class LocalDask(DaskEngine):
    """Two worker processes, which are replaced when they die."""

    def __init__(self) -> None:
        super().__init__("local dask", lambda _: None)

    def _start(self, kind: Kind) -> Any:
        return LocalCluster(
            n_workers=0, threads_per_worker=1, dashboard_address=":0", env=WORKER_ENVIRONMENT, silence_logs=50
        )

    def _size(self, kind: Kind) -> tuple[int, int]:
        return 2, 1

    def _adapt(self, cluster: Any, n: int) -> None:
        cluster.scale(n)

    def _check(self, kind: Kind, pool: Pool, alive: int) -> None:
        """Trust that workers come."""

    def _loss_reason(self, worker: str) -> str:
        return f"its worker {worker} was lost"
