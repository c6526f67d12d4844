"""The step that joins the compressed features of all layers, once for every training part that a fold will need."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxelcast.execution.steps import Job, StepContext
from voxelcast.experiment.steps.compress import Excluded, FoldedLayers, scores_path
from voxelcast.search.joined import ALL_LAYERS, JoinedSpace


@dataclass(frozen=True, eq=False)
class JoinJob(Job):
    """Join layers."""

    kind = "join"
    version = 1
    folded: FoldedLayers
    excluded: Excluded

    @property
    def name(self) -> str:
        """What is joined."""
        return "all-layers"

    def run(self, folder: Path, context: StepContext) -> None:
        """Write ``scores[_i[_j]].npy`` (n_stimuli, rank) for each set of excluded folds, and ``facts.json``."""
        spaces = [layer.open(context) for layer in self.folded.layers]
        joined = JoinedSpace(spaces, self.folded.fold_ids)
        facts: dict[str, object] = {"layer": ALL_LAYERS, "explained_variance": None, "nested": True}
        for left_out in self.excluded:
            scores = joined.scores(left_out)
            np.save(scores_path(folder, left_out), scores)
            if left_out == ():
                n_features = sum(space.scores().shape[1] for space in spaces)
                facts |= {"n_features": n_features, "n_components": scores.shape[1]}
        (folder / "facts.json").write_text(json.dumps(facts))
