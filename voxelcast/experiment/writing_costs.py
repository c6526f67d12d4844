"""What keeping models, and writing results and the report, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from voxelcast.core.cost import Cost
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning.held_out import WHOLE_BRAIN
from voxelcast.experiment.planning.stages import REPORT, RESULTS
from voxelcast.features.cost import READING
from voxelcast.results.schema import Pair

_RESULTS, _RESULTS_EACH = 0.3, 0.1
"""Seconds in which results are begun, and those of a subject x ROI written."""
_REPORT, _FIGURE, _REPORT_EACH = 4.0, 0.28, 0.03
"""Seconds in which Matplotlib is there and the report begun, a figure drawn, and a subject x ROI read and laid out."""
_OF_SCORES = 2
"""Figures of an ROI whose predictions are scored, histogram and examples, besides its profile over layers."""
MOST_DRAWN = 60
"""ROIs that get figures: as many as the report's, which would import Matplotlib here."""
_KEEP = 0.2
_WRITING = 60
"""Operations that take as long as to halve a number of an axis, and to write it twice."""
_HALVED = 2**20
"""Numbers of axes from which on they are kept in half precision."""


def written(plan: Plan) -> dict[str, Cost]:
    """Count what results and the report take, by the subject x ROI and the figures in them."""
    pairs = len(plan.pairs)
    return {
        RESULTS: Cost(python=_RESULTS + _RESULTS_EACH * pairs),
        REPORT: Cost(python=_REPORT + _FIGURE * n_figures(plan) + _REPORT_EACH * pairs),
    }


def n_figures(plan: Plan) -> int:
    """Count the figures of the report: an overview, and those of each ROI."""
    rois = min(MOST_DRAWN, len({roi for _, roi in plan.pairs}))
    scored = plan.config.folds.nested or plan.dataset.has_test_responses
    return 1 + rois * (1 + _OF_SCORES * scored + len(plan.config.encoders))


def keeping_cost(plan: Plan, sizes: Sequence[int], kept: Sequence[int], voxels: Mapping[Pair, int]) -> Cost:
    """Count what it takes to keep how layers are compressed, and fitted models: at most, of all layers that may count.

    Both are on disk twice, as the result of a step and in ``models/``; axes have two bytes a number, and are found in
    one pass over the features, and large ones judged in another.
    """
    config, n_train = plan.config, len(plan.dataset.train_stimuli)
    mixed = config.ensemble.method in ("stacking", "banded_ridge", "atlases") or config.selection.per == "voxel"
    each = config.ensemble.top if config.ensemble.method == "average" else 1 + len(config.ensemble.experts)
    n_used = len(sizes) if mixed else min(len(sizes), each * len(voxels))
    used = sorted(zip(sizes, kept, strict=False), reverse=True)[:n_used] if config.compress.method == "pca" else []
    numbers = [size * k for size, k in used]
    operations = sum(READING * n_train * size * (1 + (size * k > _HALVED)) + n_train * size * k for size, k in used)
    of_voxel = 4.0 * max(len(config.delays), 1) * (sum(kept) if mixed else each * max(kept, default=0))
    saved = [q for q in voxels.values() if config.models == "all" or (config.models == "roi" and q <= WHOLE_BRAIN)]
    disk = 2 * sum(map(_axes_bytes, numbers)) + of_voxel * (sum(voxels.values()) + sum(saved))
    operations += _WRITING * sum(numbers)
    return Cost(operations, memory=8.0 * max(numbers, default=0), disk=disk, python=_KEEP)


def _axes_bytes(n_numbers: int) -> float:
    return n_numbers * (2.0 if n_numbers > _HALVED else 4.0)
