"""The step that trains encoders without some folds."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_finite
from voxelcast.core.errors import OptionError
from voxelcast.core.settings import NO_EFFECT
from voxelcast.encoders.learned.settings import ReadoutSettings
from voxelcast.encoders.registry import get_encoder
from voxelcast.execution.steps import Job, StepContext
from voxelcast.experiment.steps.extract import Readable, feature_name, network_of
from voxelcast.experiment.steps.responses import valid_responses
from voxelcast.experiment.steps.trained import Source
from voxelcast.results.schema import Pair
from voxelcast.store.result import ResultWriter
from voxelcast.store.steps import StepId, StepStore

if TYPE_CHECKING:
    import torch

    from voxelcast.encoders.learned.maps import Maps

_RESIDENT_SHARE = 0.5
"""Of a device's free memory that stimuli may take."""


@dataclass(frozen=True, eq=False)
class TrainJob(Job):
    """Train all variants of an encoder without some folds, side by side.

    Parameters
    ----------
    pairs : tuple of (subject, ROI)
        Whose voxels are trained together.
    responses : tuple of StepId
        Of the pairs.
    order : ndarray of shape (n_train,), int, or None
        For shuffled responses: which stimulus's response each training stimulus is given.
    """

    kind = "train"
    version = 2
    encoder: str
    pairs: tuple[Pair, ...]
    responses: tuple[StepId, ...]
    source: Source
    stimuli: Readable
    fold_ids: IntArray
    excluded: tuple[int, ...]
    order: IntArray | None
    settings: ReadoutSettings
    seed: int
    device: Annotated[str, NO_EFFECT]

    @property
    def name(self) -> str:
        """Encoder, network, subject and ROI, and the folds left out."""
        what = self.trained_on.replace(" ", "_")
        without = "-".join(["without", *map(str, self.excluded)]) if self.excluded else "all-folds"
        return f"{self.encoder}-{self.source.shown.replace('/', '-')}-{what}-{without}"

    @property
    def trained_on(self) -> str:
        """Subject and ROI, or all together."""
        return " ".join(self.pairs[0]) if len(self.pairs) == 1 else "all"

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write for each pair k and variant v what the training left.

        ``predictions/K_V`` (n_train + n_test, n_valid_voxels), ``losses`` and ``scores`` (n_trainings, n_epochs) with
        NaN at their ends, ``pictures/K_V_L`` (n_valid_voxels, h, w) where voxels read in layer L, and ``failed``, why
        some variants were given up. Of the training on all folds also ``model/K_V/...``, arrays, and ``trained``, facts
        of `voxelcast.encoders.learned.rebuilt.TrainedMembers`.
        """
        from voxelcast.encoders.learned.head import HeadSize
        from voxelcast.encoders.learned.student import Lesson
        from voxelcast.encoders.learned.training import Failed, same_for_all, train
        from voxelcast.networks.module_network import check_device

        device = check_device(self.device)
        read = [valid_responses(context.read(one), self.stimuli.train_rows)[0] for one in self.responses]
        Y = np.concatenate(read, axis=1)
        Y = Y if self.order is None else Y[self.order]
        rows = np.flatnonzero(~np.isin(self.fold_ids, self.excluded))
        n = len(self.stimuli.train_ids) + len(self.stimuli.test_ids)
        maps = _stimuli(context.store.root, self.source, n, self.reads_frames, str(device))
        backbone = self._backbone(device) if self.reads_frames else None
        facts = self._facts(maps, backbone)
        size = HeadSize(facts["shapes"], facts["n_times"], Y.shape[1])
        lesson = Lesson(maps, size, rows, Y[rows], device, self._weights(context), backbone)
        checkpoint = context.scratch / "checkpoint.pt"
        outcomes = dict(enumerate(train(lesson, same_for_all(self.settings, self.seed), checkpoint)))
        trained = {v: one for v, one in outcomes.items() if not isinstance(one, Failed)}
        stops = np.cumsum([0, *(values.shape[1] for values in read)])
        for (v, one), k in product(trained.items(), range(len(self.pairs))):
            voxels = slice(stops[k], stops[k + 1])
            writer.array(f"predictions/{k}_{v}", one.predictions[:, voxels].astype(np.float32))
            for layer, picture in enumerate(one.pictures):
                writer.array(f"pictures/{k}_{v}_{layer}", picture[voxels].astype(np.float32))
            if not self.excluded:
                own = {name: a[voxels] if _per_voxel(name) else a for name, a in one.arrays.items()}
                writer.arrays(f"model/{k}_{v}", {name: np.asarray(a, np.float32) for name, a in own.items()})
        if not self.excluded:
            variants = same_for_all(self.settings, self.seed)
            members = {v: self._member(variants[v][0], one.arrays) for v, one in trained.items()}
            writer.json("trained", facts | {"members": members, "n_voxels": np.diff(stops).tolist()})
        n_features = sum(c * h * w for c, h, w in self.source.shapes)
        writer.json("facts", {"n_features": n_features, "n_components": int(stops[-1]), "explained_variance": None})
        writer.json("failed", {v: one.reason for v, one in outcomes.items() if isinstance(one, Failed)})
        unknown: FloatArray = np.full(1, np.nan)
        curves = [(trained[v].losses, trained[v].scores) if v in trained else (unknown, unknown) for v in outcomes]
        for name, some in zip(("losses", "scores"), zip(*curves, strict=True), strict=True):
            writer.array(name, _filled(some))
        context.progress.advance(len(outcomes))
        shutil.rmtree(context.scratch, ignore_errors=True)

    @property
    def reads_frames(self) -> bool:
        """Whether the network is trained, too."""
        return get_encoder(self.encoder).reads == "pixels"

    def _member(self, settings: ReadoutSettings, arrays: Mapping[str, FloatArray]) -> dict[str, Any]:
        start = "network."
        network = {name.removeprefix(start): array.shape for name, array in arrays.items() if name.startswith(start)}
        return {"points": settings.places == "point", "network": network}

    def _backbone(self, device: torch.device) -> Callable[[], Any]:
        from voxelcast.networks.backbone import TrainableBackbone

        network = network_of(self.source.network, self.source.seed, str(device))
        return lambda: TrainableBackbone(network, self.settings.side)

    def _facts(self, maps: Maps, backbone: Callable[[], Any] | None) -> dict[str, Any]:
        """Return what the members have in common; there are 0 steps of time where maps have no such axis."""
        import torch

        shown = maps.batch(torch.zeros(1, dtype=torch.long, device=self.device))
        found, frames = shown, None
        if backbone is not None:
            frames = tuple(shown[0].shape[1:3])
            with torch.no_grad():
                found = backbone().to(self.device)(shown[0].float())
        n_times = tuple(values.shape[1] if values.ndim == 5 else 0 for values in found)
        return {"shapes": self.source.shapes, "n_times": n_times, "tokens": self.source.tokens, "pixels": frames}

    def _weights(self, context: StepContext) -> FloatArray | None:
        """Return the voxels' weights in the loss: their reliability, which needs repetitions."""
        losses = {self.settings.loss, *(one.loss for one in self.settings.trainings())}
        if "noise_weighted" not in losses:
            return None
        parts = []
        for pair, step in zip(self.pairs, self.responses, strict=True):
            responses = context.read(step)
            known = responses.arrays("ceilings").get("noise_ceiling_r2")
            valid = responses.array("valid")
            if known is None or not np.isfinite(known[valid]).all():
                raise OptionError(f"loss noise_weighted needs repetitions of {' '.join(pair)}; got none; take mse")
            parts.append(np.clip(known[valid], 0.01, None))
        return np.concatenate(parts)


def _per_voxel(name: str) -> bool:
    """Whether the first axis of an array of a head is that of voxels."""
    return name in ("y_mean", "y_scale", "head.bias", "head.layers") or name.startswith(("head.places", "head.weights"))


def _filled(curves: Sequence[FloatArray]) -> FloatArray:
    filled = np.full((len(curves), max(len(curve) for curve in curves)), np.nan)
    for row, curve in zip(filled, curves, strict=True):
        row[: len(curve)] = curve
    return filled


@lru_cache(maxsize=1)
def _stimuli(root: Any, source: Source, n: int, pixels: bool, device: str) -> Maps:
    """Open the maps, or frames, of stimuli: in the device's memory if there is room, else on disk.

    The stimuli are the first of the shards' readable ones: training stimuli, then held-out ones.
    """
    import torch

    from voxelcast.encoders.learned.maps import Mapped, Resident

    store = StepStore(root, read_only=True)
    names = ["frames"] if pixels else [feature_name(layer) for layer in source.layers]
    stored = [[store.read(shard).stored(name) for shard in source.shards] for name in names]
    shards = [[array for array in arrays if array.shape[0]] for arrays in stored]
    layers = [tuple(_shaped(a.map(), source, k, pixels) for a in arrays) for k, arrays in enumerate(shards)]
    starts = np.cumsum([0, *(len(part) for part in layers[0])])
    on = torch.device(device)
    free = torch.cuda.mem_get_info(on)[0] if on.type == "cuda" else 4e9
    if sum(part.nbytes for layer in layers for part in layer) > _RESIDENT_SHARE * free:
        return Mapped(tuple(layers), starts, on)
    whole = [np.concatenate(layer)[:n] for layer in layers]
    for name, values in zip(names, whole, strict=True):
        if not pixels:
            check_finite(f"maps of {source.shown} {name} in half precision", values)
    return Resident(tuple(torch.from_numpy(values).to(on) for values in whole))


def _shaped(values: np.ndarray, source: Source, k: int, pixels: bool) -> np.ndarray:
    """Give the rows of a layer of a shard their axes: (n, c, h, w), or (n, n_times, c, h, w)."""
    from voxelcast.encoders.learned.rebuilt import with_axes

    if pixels:
        return values
    return np.asarray(with_axes(values, values.shape[:-1], source.shapes[k], source.tokens[k]))
