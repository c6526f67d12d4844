"""The step that trains a trunk on the responses of several subjects without some folds, and its outputs as a layer."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.settings import NO_EFFECT
from voxelcast.encoders.learned.trunk import Streams, train_trunk
from voxelcast.encoders.learned.trunk_settings import TrunkSettings
from voxelcast.execution.steps import Job, StepContext
from voxelcast.experiment.steps.compress import CompressedLayer, CompressedSpace, FoldedLayers, compressed, scores_name
from voxelcast.experiment.steps.kept import KeptLayer
from voxelcast.experiment.steps.responses import TrainingResponses, valid_responses
from voxelcast.models.card import LayerCard, layer_key
from voxelcast.results.schema import Pair
from voxelcast.store.result import ResultWriter
from voxelcast.store.steps import StepId, StepStore


@dataclass(frozen=True, eq=False)
class TrunkJob(Job):
    """Train one trunk without the folds ``excluded``: of every subject the same stimuli are left out.

    ``responses`` are those of the subjects x ROI that it is trained on; ``train_rows`` the rows of the training stimuli
    in them; ``rows`` those of training and held-out stimuli in the features; ``series``, int (n_stimuli, 2), the run
    and position of every volume that has features.
    """

    kind = "trunk"
    version = 1
    label: Annotated[str, NO_EFFECT]
    device: Annotated[str, NO_EFFECT]
    settings: TrunkSettings
    folded: FoldedLayers
    excluded: tuple[int, ...]
    responses: tuple[tuple[Pair, TrainingResponses], ...]
    train_rows: IntArray
    rows: IntArray
    series: IntArray | None
    seed: int

    @property
    def name(self) -> str:
        """The trunk, the subject and ROI where it has one alone, and the folds left out."""
        members = [{pair[k] for pair, _ in self.responses} for k in (0, 1)]
        alone = [next(iter(names)) for names in members if len(names) == 1]
        return "_".join([self.label, *alone, *map(str, self.excluded)])

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write ``scores`` (n_train + n_test, n_outputs), the group ``trunk`` and ``facts``."""
        features = []
        for layer in compressed(self.folded):
            left_out = self.excluded if layer.fitted_in_folds else ()
            features.append(context.read(layer.step).array(scores_name(left_out)))
        by_subject: dict[str, list[FloatArray]] = {}
        kept = np.flatnonzero(~np.isin(self.folded.fold_ids, self.excluded))
        for (subject, _), given in self.responses:
            found = valid_responses(context.read(given.step), self.train_rows)[0][kept]
            by_subject.setdefault(subject, []).append(found)
        responses = [np.concatenate(parts, axis=1) for parts in by_subject.values()]
        streams = Streams(tuple(features), self.series)
        how = {"seed": self.seed, "device": self.device, "scratch": context.scratch}
        trunk = train_trunk(streams, self.rows[kept], responses, self.settings, **how)  # type: ignore[arg-type]
        scores = trunk.features(streams)[self.rows]
        writer.array("scores", scores)
        writer.arrays("trunk", trunk.arrays())
        sizes = {"n_features": sum(X.shape[1] for X in features), "n_components": scores.shape[1]}
        writer.json("facts", {"layer": self.label, "explained_variance": None, "nested": True} | sizes)
        shutil.rmtree(context.scratch, ignore_errors=True)


@dataclass(frozen=True, eq=False)
class TrunkLayer(CompressedLayer):
    """The outputs of a trunk as a layer: a step for each set of excluded folds. They are in time already."""

    trained: Mapping[str, StepId] = field(default_factory=dict)

    def key(self, taken: Sequence[str] = ()) -> str:
        """Return its key in saved models, which no trunk of other responses has."""
        return layer_key((self.network, self.layer, self.step.key[:8]), taken)

    def components(self, store: StepStore, without: tuple[int, ...]) -> FloatArray:
        """Read the outputs of the trunk trained without some folds, or without as many of them as a run needs."""
        while folds_name(without) not in self.trained:
            without = without[:-1]
        return store.read(self.trained[folds_name(without)]).array("scores")

    def kept(self, members: Sequence[str]) -> KeptTrunk:
        """Return what is kept of it; ``members`` are the keys of the layers that it reads."""
        return KeptTrunk(self.key(), self.network, self.layer, "", "", self.trained[""], 0, tuple(members))

    def open(self, context: StepContext) -> CompressedSpace:
        """Return the outputs."""

        def read(excluded: tuple[int, ...]) -> FloatArray:
            return context.read(self.trained[folds_name(excluded)]).array("scores")

        return CompressedSpace(self.network, self.layer, self.fitted_in_folds, read, self.pool)


@dataclass(frozen=True)
class KeptTrunk(KeptLayer):
    """A trunk of members' components, for saved models."""

    def card(self, store: StepStore, **more: Any) -> LayerCard:
        """Return what the model's card says of it."""
        arrays = self.arrays(store)
        width, size = arrays["outputs"].shape
        named = {"network": self.network, "layer": self.layer, "members": self.members, "kind": "trunk"}
        facts = {"width": width, "rectified": "bias" in arrays}
        return LayerCard(**{"input": "", "n_features": size, "n_components": size, "facts": facts, **named, **more})

    def arrays(self, store: StepStore) -> dict[str, NDArray[Any]]:
        """Read the arrays that make its outputs."""
        found = store.read(self.axes).arrays("trunk")
        wanted = ("means_", "maps_", "centre", "outputs", *(["bias"] if found["bias"].size else []))
        return {name: array for name, array in found.items() if name.startswith(wanted)}


def folds_name(excluded: tuple[int, ...]) -> str:
    """Name a set of excluded folds."""
    return "_".join(map(str, excluded))
