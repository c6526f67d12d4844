"""The step that joins the compressed features of all layers, once for every training part that a fold will need."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import IntArray
from voxelcast.experiment.steps.compress import StoredSpace, scores_path
from voxelcast.search.joined import ALL_LAYERS, JoinedSpace

VERSION = 1


def join_layers(
    folder: Path,
    *,
    layers: Sequence[Path],
    fitted_in_folds: bool,
    fold_ids: IntArray,
    excluded: Sequence[tuple[int, ...]],
) -> None:
    """Write ``scores[_i[_j]].npy`` (n_stimuli, rank) for each set of excluded folds, and ``facts.json``.

    ``layers`` has the folders of the compressed layers; ``fitted_in_folds`` says whether they were compressed for each
    training part.
    """
    spaces = [StoredSpace(path, "", "", fitted_in_folds=fitted_in_folds) for path in layers]
    joined = JoinedSpace(spaces, fold_ids)
    facts: dict[str, object] = {"layer": ALL_LAYERS, "explained_variance": None, "nested": True}
    for left_out in excluded:
        scores = joined.scores(left_out)
        np.save(scores_path(folder, left_out), scores)
        if left_out == ():
            n_features = sum(space.scores().shape[1] for space in spaces)
            facts |= {"n_features": n_features, "n_components": scores.shape[1]}
    (folder / "facts.json").write_text(json.dumps(facts))
