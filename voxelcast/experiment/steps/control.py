"""The step that fits models to shuffled responses: what scores come out where there is nothing to predict."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from voxelcast.core.arrays import IntArray
from voxelcast.core.errors import DataError
from voxelcast.core.seeds import derive_seed
from voxelcast.execution.steps import StepContext
from voxelcast.experiment.steps.fit import FitJob, score_nested
from voxelcast.experiment.steps.responses import valid_responses
from voxelcast.scoring.permutation import Exchange, permutation_orders
from voxelcast.store.result import ResultWriter


def shuffled_order(exchange: Exchange, seed: int, shuffle: int) -> IntArray | None:
    """Return which stimulus's response each stimulus is given in a shuffle; None where nothing can change places."""
    try:
        order: IntArray = permutation_orders(exchange, 2, derive_seed(seed, "control", shuffle))[1]
    except DataError:
        return None
    return order


@dataclass(frozen=True, eq=False)
class ControlJob(FitJob):
    """Search, choose, fit and score like `FitJob` after the responses changed places; ``shuffle`` numbers the draws.

    Responses are exchanged as in the permutation test: within folds, groups as wholes, runs of a time series rotated.
    """

    kind = "control"
    version = FitJob.version
    shuffle: int

    @property
    def name(self) -> str:
        """Subject, ROI and number."""
        return f"{super().name}_{self.shuffle}"

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write ``score``, the nested score; null where nothing can change places."""
        fold_ids = [folded.fold_ids for folded in self.partitions]
        train, valid = valid_responses(context.read(self.responses.step), self.stimuli.train_rows)
        exchange = Exchange(fold_ids[0], self.stimuli.groups, self._is_series)
        order = shuffled_order(exchange, self.settings.seed, self.shuffle)
        if order is None:
            writer.json("score", None)
            return
        train = train[order]
        results = self.search(train, valid, context)
        _, scored = score_nested(self._scorer, train, results, fold_ids, self.stimuli.groups, gains=False)
        writer.json("score", scored["score"])
        shutil.rmtree(context.scratch, ignore_errors=True)
