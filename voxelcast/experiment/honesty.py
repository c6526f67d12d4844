"""What a run knows of its models' predictions, to be kept with them: scores, residuals, distances of stimuli."""

from __future__ import annotations

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.learned.trunk_settings import TRUNK
from voxelcast.experiment.finished import Finished
from voxelcast.experiment.planning.layers import of_all_rows
from voxelcast.experiment.steps.compress import compressed, layer_keys
from voxelcast.experiment.steps.fit import FitJob
from voxelcast.experiment.steps.responses import valid_responses
from voxelcast.models.honesty import heaviest_part, make_extras, novelty_of
from voxelcast.results.schema import Pair
from voxelcast.scoring.novelty import Novelty
from voxelcast.search.joined import JOINED
from voxelcast.store.result import StepResult


def pair_extras(pair: Pair, finished: Finished) -> dict[str, FloatArray]:
    """Return the arrays of `voxelcast.models.honesty` of a finished subject x ROI."""
    fit, job = finished.read(finished.fits[pair]), finished.fits[pair].job
    assert isinstance(job, FitJob)
    responses = finished.read(finished.responses[pair])
    train, valid = valid_responses(responses, job.stimuli.train_rows)
    nested = (train, fit.array("out_of_fold")[:, valid]) if "out_of_fold" in fit else None
    return make_extras(fit.arrays("voxels"), valid, nested, _novelty(fit, job, finished))


def _novelty(fit: StepResult, job: FitJob, finished: Finished) -> Novelty | None:
    """Learn how far training stimuli lie from each other in the components of the layer that weighs most."""
    model = fit.arrays("model")
    cards = fit.json("parts")
    heaviest = heaviest_part([(part["form"], float(model[f"{k}.weights"].sum())) for k, part in enumerate(cards)])
    folded = job.partitions[0]
    layers = compressed(folded)
    keys = layer_keys(layers)
    found = [one for one in layers if keys[one.network, one.layer, one.pool] == cards[heaviest]["layer"]]
    if not found:  # all are trained: predictions are no features
        return None
    (layer,) = found
    # Layers are compressed with the volumes of gaps between folds; what joins layers has no rows of them.
    with_gaps = of_all_rows(finished.plan, folded.fold_ids, finished.readable)
    rows = np.flatnonzero((folded.fold_ids if layer.network in (JOINED, TRUNK) else with_gaps) >= 0)

    def components(left_out: tuple[int, ...]) -> FloatArray:
        left_out = left_out if layer.fitted_in_folds else ()
        return np.asarray(layer.components(finished.plan.store, left_out)[rows])

    return novelty_of(components, folded.fold_ids)
