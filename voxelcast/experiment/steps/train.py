"""The steps that train encoders: frames that networks are trained on, and a training for each set of folds left out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_finite
from voxelcast.core.errors import DataError, OptionError
from voxelcast.core.settings import NO_EFFECT
from voxelcast.encoders.learned.settings import ReadoutSettings
from voxelcast.execution.machine import available_cores
from voxelcast.execution.steps import Job, StepContext
from voxelcast.experiment.steps.extract import Readable, ShardJob, feature_name, network_of
from voxelcast.experiment.steps.responses import valid_responses
from voxelcast.networks.base import NetworkCard
from voxelcast.networks.settings import NetworkSettings
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.result import ResultWriter
from voxelcast.store.steps import StepId, StepStore

if TYPE_CHECKING:
    import torch

    from voxelcast.encoders.learned.training import Maps

Pair = tuple[str, str]
_RESIDENT_SHARE = 0.5
"""Of a device's free memory that stimuli may take."""


@dataclass(frozen=True)
class FramesJob(ShardJob):
    """Write the frames of a shard of stimuli, as a network is shown them, so that they are decoded once."""

    kind = "frames"
    version = 1
    number: Annotated[int, NO_EFFECT]
    side: int
    sampling: FrameSampling
    on_broken: str
    stimuli: tuple[Stimulus, ...]

    @property
    def name(self) -> str:
        """Size and number of the shard."""
        return f"{self.side}px-{self.number:04d}"

    @property
    def shard(self) -> tuple[str, ...]:
        """Ids of the stimuli, in order."""
        return tuple(one.stimulus_id for one in self.stimuli)

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write ``frames``, (n_readable, n_times, side, side, 3) uint8, to the nearest of 256 levels, and ``stimuli``.

        Raises DataError if stimuli have different numbers of frames.
        """
        import torch

        from voxelcast.core.errors import StimulusError
        from voxelcast.networks.decode_ahead import Prefetcher
        from voxelcast.networks.prepare import prepare_frames

        records: list[dict[str, object]] = []
        cpu, none, one = torch.device("cpu"), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        workers = min(4, available_cores())
        with Prefetcher(self.stimuli, self.sampling, chunk=16, workers=workers) as source:
            for position, stimulus in enumerate(self.stimuli):
                try:
                    chunks = [prepare_frames(c.frames, self.side, none, one, cpu) for c in source.chunks(position)]
                except StimulusError as error:
                    if self.on_broken == "stop":
                        raise
                    records.append({"stimulus_id": stimulus.stimulus_id, "n_frames": 0, "broken": str(error)})
                    continue
                frames = (torch.cat(chunks) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
                rows = writer.rows("frames", frames.shape, "uint8")
                if frames.shape != rows.shape:
                    raise DataError(
                        f"{stimulus.name}: for finetuned all stimuli must have as many frames; got {len(frames)} after "
                        f"{rows.shape[0]}; set frames: {{n: ...}} to as many as all have"
                    )
                rows.append(frames)
                records.append({"stimulus_id": stimulus.stimulus_id, "n_frames": len(frames), "broken": None})
        writer.json("stimuli", records)


@dataclass(frozen=True)
class Source:
    """What an encoder is trained on: a network and the shards that have its layers' maps, or frames.

    ``shapes`` are those of the layers' maps, ``n_times`` the axis of time that is kept, or None.
    """

    network: Annotated[NetworkSettings, NO_EFFECT]
    seed: Annotated[int, NO_EFFECT]
    card: NetworkCard
    layers: tuple[str, ...]
    shapes: tuple[tuple[int, int, int], ...]
    tokens: tuple[bool, ...]
    shards: tuple[StepId, ...]

    @property
    def shown(self) -> str:
        """Name in the results."""
        return self.network.shown


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
    version = 1
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

        ``predictions/K_V`` (n_train + n_test, n_valid_voxels), ``model/K_V/...`` arrays of the model, ``losses`` and
        ``scores`` (n_trainings, n_epochs) with NaN at their ends, and ``pictures/K_V_L`` (n_valid_voxels, h, w) where
        voxels read in layer L.
        """
        from voxelcast.encoders.learned.head import HeadSize
        from voxelcast.encoders.learned.training import Lesson, same_for_all, train
        from voxelcast.networks.module_network import check_device

        device = check_device(self.device)
        read = [valid_responses(context.read(one), self.stimuli.train_rows)[0] for one in self.responses]
        Y = np.concatenate(read, axis=1)
        Y = Y if self.order is None else Y[self.order]
        rows = np.flatnonzero(~np.isin(self.fold_ids, self.excluded))
        n = len(self.stimuli.train_ids) + len(self.stimuli.test_ids)
        maps = _stimuli(context.store.root, self.source, n, self.encoder == "finetuned", str(device))
        backbone = self._backbone(device) if self.encoder == "finetuned" else None
        shapes, n_times = self._sizes(maps, backbone)
        lesson = Lesson(
            maps, HeadSize(shapes, n_times, Y.shape[1]), rows, Y[rows], device, self._weights(context), backbone
        )
        checkpoint = context.scratch / "checkpoint.pt"
        trained = train(lesson, same_for_all(self.settings, self.seed), checkpoint)
        stops = np.cumsum([0, *(values.shape[1] for values in read)])
        for v, one in enumerate(trained):
            for k in range(len(self.pairs)):
                voxels = slice(stops[k], stops[k + 1])
                writer.array(f"predictions/{k}_{v}", one.predictions[:, voxels].astype(np.float32))
                for layer, picture in enumerate(one.pictures):
                    writer.array(f"pictures/{k}_{v}_{layer}", picture[voxels].astype(np.float32))
                if not self.excluded:
                    q = stops[-1]
                    own = {n: a[voxels] if a.shape[:1] == (q,) and _per_voxel(n) else a for n, a in one.arrays.items()}
                    writer.arrays(f"model/{k}_{v}", {name: np.asarray(a, np.float32) for name, a in own.items()})
        n_features = sum(c * h * w for c, h, w in self.source.shapes)
        writer.json("facts", {"n_features": n_features, "n_components": int(stops[-1]), "explained_variance": None})
        writer.array("losses", _filled([one.losses for one in trained]))
        writer.array("scores", _filled([one.scores for one in trained]))
        if context.progress is not None:
            context.progress.advance(len(trained))
        shutil.rmtree(context.scratch, ignore_errors=True)

    def _backbone(self, device: torch.device) -> Callable[[], Any]:
        from voxelcast.networks.backbone import TrainableBackbone

        network = network_of(self.source.network, self.source.seed, str(device))
        return lambda: TrainableBackbone(network, self.settings.side)

    def _sizes(
        self, maps: Maps, backbone: Callable[[], Any] | None
    ) -> tuple[tuple[tuple[int, int, int], ...], tuple[int, ...]]:
        """Return the shapes of the layers' maps, and their steps of time: 0 where there are none."""
        import torch

        found = maps.batch(torch.zeros(1, dtype=torch.long, device=self.device))
        if backbone is not None:
            with torch.no_grad():
                found = backbone().to(self.device)(found[0].float())
        return self.source.shapes, tuple(values.shape[1] if values.ndim == 5 else 0 for values in found)

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

    from voxelcast.encoders.learned.training import Mapped, Resident

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
    if pixels:
        return values
    c, h, w = source.shapes[k]
    lead = values.shape[:-1]
    if source.tokens[k]:
        return np.moveaxis(values.reshape(*lead, h, c), -1, -2)[..., None]
    return values.reshape(*lead, c, h, w)


@dataclass(frozen=True)
class TrainedLayer:
    """The predictions of an encoder, as a layer for the search: of one variant, or the mean of all.

    ``steps`` are the trainings by the folds left out; ``place`` is the pair's among those trained together.
    """

    encoder: str
    network: str
    weights: str
    layer: str
    steps: tuple[tuple[tuple[int, ...], StepId], ...]
    place: int
    variants: tuple[int, ...]
    pool: str = ""

    @property
    def step(self) -> StepId:
        """The training on all folds."""
        return dict(self.steps)[()]

    def open(self, context: StepContext) -> TrainedSpace:
        """Return the predictions."""
        known = dict(self.steps)

        def read(excluded: tuple[int, ...]) -> FloatArray:
            result = context.read(known[excluded])
            parts = [result.array(f"predictions/{self.place}_{v}") for v in self.variants]
            return np.asarray(np.mean(parts, axis=0, dtype=np.float64))

        def arrays(excluded: tuple[int, ...]) -> dict[str, FloatArray]:
            if excluded or excluded not in known:
                return {}
            result = context.read(known[excluded])
            found = {v: result.arrays(f"model/{self.place}_{v}") for v in self.variants}
            return {f"{v}/{name}": array for v, some in found.items() for name, array in some.items()}

        return TrainedSpace(self.encoder, self.network, self.layer, frozenset(known), read, arrays, self.pool)


@dataclass(frozen=True, eq=False)
class TrainedSpace:
    """Predictions of all stimuli for each set of folds left out: a FeatureSpace that one encoder alone reads."""

    trained_by: str
    network: str
    layer: str
    trained_without: frozenset[tuple[int, ...]]
    read: Callable[[tuple[int, ...]], FloatArray]
    model_arrays: Callable[[tuple[int, ...]], dict[str, FloatArray]]
    pool: str = ""
    fitted_in_folds: bool = True

    def scores(self, excluded: tuple[int, ...] = ()) -> FloatArray:
        """Return predictions, ndarray of shape (n_train + n_test, q)."""
        return self.read(excluded)
