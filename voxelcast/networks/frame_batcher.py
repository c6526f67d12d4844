"""Batches of frames that may belong to several stimuli; the activations are pooled stimulus by stimulus."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from voxelcast.core.arrays import FloatArray, device_bytes
from voxelcast.core.errors import DataError, ShapeError
from voxelcast.features.pooling import KeepingPool, TemporalPool, make_pool
from voxelcast.features.spatial_pool import pool_spatially
from voxelcast.networks.base import Network
from voxelcast.networks.clips import Clip, ClipCutter, ClipNetwork
from voxelcast.networks.gpu_copies import MOST_COPIES, Delivery, Feature
from voxelcast.networks.layer_sizes import count_features
from voxelcast.networks.row_sums import RowLayout, RowSums
from voxelcast.networks.settings import ExtractionSettings
from voxelcast.stimuli.stimulus import Stimulus

_DEFAULTS = ExtractionSettings()
_CLIPS = 8  # per forward pass on a GPU
_OTHERS, _OTHERS_ON_GPU = 4, 32  # windows of sound, or texts
_COPIED = 2**31  # bytes of features that may be on their way from a GPU, of more than two stimuli
_PASSES = 2  # forward passes that a GPU is asked for beside the one that it does
_OF_ONE = 1 / 64  # of a GPU's memory, for the activations that pools keep of one stimulus; of more they are kept here


@dataclass(eq=False)
class Entry:
    """A stimulus under way: its pools by layer and name, or the sums over time of all layers (`RowSums`) for the mean.

    ``last_batch`` is the number of the last forward pass before its features were computed.
    """

    stimulus: Stimulus
    pools: dict[Feature, TemporalPool]
    sums: torch.Tensor | None = None
    last_batch: int = 0
    delivery: Delivery | None = None
    cutter: ClipCutter | None = None
    n_fed: int = 0
    n_pooled: int = 0
    n_kept: int = 0  # bytes
    ended: bool = False
    problem: str = ""
    clip: list[tuple[torch.Tensor, FloatArray]] = field(default_factory=list)


@dataclass(frozen=True)
class _Part:
    """Activations ``start`` to ``stop - 1`` of a batch, which belong to one stimulus, and when they are shown."""

    entry: Entry
    start: int
    stop: int
    times: FloatArray


class FrameBatcher:
    """Collects frames of stimuli, runs the network on full batches and hands out pooled features in order."""

    def __init__(
        self, network: Network, settings: ExtractionSettings, batch: int | None, *, on_device: bool = False
    ) -> None:
        self._network = network
        self._settings = settings
        self._batch = batch
        self._on_cpu = network.device.type == "cpu"
        self._on_device = on_device
        self._size = batch or default_size(network, settings)
        self._most_kept = 0.0 if self._on_cpu else device_bytes(str(network.device)) * _OF_ONE
        self._layout: RowLayout | None = None
        if "mean" in settings.pools and network.card.takes == "frames":
            shown = {seen.name: count_features(seen, settings.spatial_pool) for seen in network.layer_traces()}
            self._layout = RowLayout({layer: shown[layer] for layer in network.layers})
        self._others = [name for name in settings.pools if name != "mean" or self._layout is None]
        self._entries: deque[Entry] = deque()
        self._waiting: deque[tuple[Entry, torch.Tensor, FloatArray]] = deque()
        self._n_waiting = 0
        self._clips: deque[tuple[Entry, Clip]] = deque()
        self._passes: deque[torch.cuda.Event] = deque()  # forward passes that a GPU may not have done yet
        self._n_batches = 0
        self._n_computed = 0
        self._n_sent = 0

    def open(self, stimulus: Stimulus) -> Entry:
        """Open a stimulus, whose frames follow."""
        pools = {(layer, name): make_pool(name) for name in self._others for layer in self._network.layers}
        entry = Entry(stimulus, pools)
        if isinstance(self._network, ClipNetwork):
            entry.cutter = self._network.cutter()
        self._entries.append(entry)
        return entry

    def feed(self, entry: Entry, prepared: torch.Tensor, times: FloatArray) -> None:
        """Take in prepared frames of the stimulus opened last."""
        entry.n_fed += len(prepared)
        if entry.cutter is not None:
            self._feed_clips(entry, entry.cutter.feed(prepared, times))
            return
        if self._network.card.takes == "clip":
            entry.clip.append((prepared, times))
            return
        self._waiting.append((entry, prepared, times))
        self._n_waiting += len(prepared)
        while self._n_waiting >= self._size:
            self._forward(self._size)

    def end(self, entry: Entry) -> None:
        """Close a stimulus: no frame of it follows."""
        entry.ended = True
        if entry.clip and not entry.problem:
            prepared = torch.cat([frames for frames, _ in entry.clip])
            times = np.concatenate([moments for _, moments in entry.clip])

            def pool(layer: str, activations: torch.Tensor) -> None:
                self._pool(layer, activations, [_Part(entry, 0, len(activations), _times_of(len(activations), times))])

            self._network.stream(prepared, pool)
            self._count_pass()
            entry.n_pooled = len(prepared)
        entry.clip.clear()
        if entry.cutter is not None:
            self._feed_clips(entry, entry.cutter.end())
            entry.cutter = None

    def flush(self) -> None:
        """Run the last, smaller batch."""
        if self._n_waiting:
            self._forward(self._n_waiting)
        self._forward_clips(len(self._clips))

    def finished(self, *, wait: bool) -> Iterator[tuple[Entry, Mapping[Feature, Any]]]:
        """Hand out, in order, the stimuli whose frames have all been pooled, without features where they are broken.

        ``wait`` is whether features are waited for that are on their way from a GPU. Where others wait for room, those
        are waited for, too, that were computed before the newest forward pass was asked for: so a GPU has that to do.
        """
        self._deliver()
        while self._n_sent:
            first = self._entries[0]
            overdue = self._n_computed > self._n_sent and first.last_batch < self._n_batches
            if first.delivery is not None and not (wait or overdue or first.delivery.ready()):
                return
            self._n_sent, self._n_computed = self._n_sent - 1, self._n_computed - 1
            yield self._entries.popleft(), {} if first.delivery is None else first.delivery.features()
            self._deliver()

    def _deliver(self) -> None:
        """Compute the features of stimuli that have all their frames, and send as many as may be under way."""
        while self._n_computed < len(self._entries):
            entry = self._entries[self._n_computed]
            if not entry.ended or (entry.n_pooled < entry.n_fed and not entry.problem):
                break
            if not entry.problem:
                entry.delivery, entry.last_batch = self._computed(entry), self._n_batches
            entry.pools.clear()
            entry.sums = None
            self._n_computed += 1
        while self._n_sent < self._n_computed:
            delivery = self._entries[self._n_sent].delivery
            if delivery is not None:
                at_once = max(2, min(_COPIED // delivery.n_bytes, MOST_COPIES))
                if self._n_sent >= at_once and not (self._on_device or self._on_cpu):
                    return
                delivery.send()
            self._n_sent += 1

    def _computed(self, entry: Entry) -> Delivery:
        """Compute the features of a stimulus, in the order of pools and layers."""
        shapes: dict[Feature, Sequence[int]] = {}
        pieces = []
        for name in self._settings.pools:
            if name not in self._others:
                assert self._layout is not None
                if entry.sums is None:
                    raise DataError(f"{entry.stimulus.name}: a pool needs at least one frame; got none")
                mean = entry.sums if entry.n_pooled == 1 else (entry.sums / entry.n_pooled).float()
                pieces.append(mean)
                shapes |= {(layer, name): (at.stop - at.start,) for layer, at in self._layout.places.items()}
                continue
            for layer in self._network.layers:
                try:
                    features = torch.as_tensor(entry.pools[layer, name].features(), device=self._network.device)
                except DataError as error:
                    raise DataError(f"{entry.stimulus.name}: {error}") from error
                shapes[layer, name] = features.shape
                pieces.append(features.reshape(-1))
        return Delivery(shapes, pieces, entry.stimulus.name, stay=self._on_device)

    def _forward(self, size: int) -> None:
        """Run the first ``size`` waiting frames and pool what comes out, each stimulus' part in its own pools."""
        parts: list[tuple[Entry, torch.Tensor, FloatArray]] = []
        missing = size
        while missing:
            entry, prepared, times = self._waiting.popleft()
            parts.append((entry, prepared[:missing], times[:missing]))
            if len(prepared) > missing:
                self._waiting.appendleft((entry, prepared[missing:], times[missing:]))
            missing -= min(missing, len(prepared))
        self._n_waiting -= size
        spans: list[_Part] = []
        for entry, prepared, times in parts:
            start = spans[-1].stop if spans else 0
            spans.append(_Part(entry, start, start + len(prepared), times))
        frames = self._network.join([prepared for _, prepared, _ in parts])
        lengths = [span.stop - span.start for span in spans]
        rows = None if self._layout is None else RowSums(self._layout, lengths, self._network.device)
        self._network.stream(frames, lambda layer, activations: self._pool(layer, activations, spans, rows))
        self._count_pass()
        for span, length in zip(spans, lengths, strict=True):
            span.entry.n_pooled += length
        if rows is not None:
            for span, row in zip(spans, rows.rows(), strict=True):
                entry = span.entry
                entry.sums = row if entry.sums is None else entry.sums.double() + row

    def _count_pass(self) -> None:
        """Count a forward pass; wait for the one before the last, so that no more frames fill a GPU than it can see."""
        self._n_batches += 1
        if not self._on_cpu:
            self._passes.append(torch.cuda.Event())  # type: ignore[no-untyped-call]
            self._passes[-1].record(torch.cuda.current_stream(self._network.device))
            if len(self._passes) > _PASSES:
                self._passes.popleft().synchronize()

    def _feed_clips(self, entry: Entry, clips: Sequence[Clip]) -> None:
        for clip in clips:
            self._clips.append((entry, clip))
            size = max(self._batch // len(clip.frames), 1) if self._batch else 1 if self._on_cpu else _CLIPS
            if len(self._clips) >= size:
                self._forward_clips(size)

    def _forward_clips(self, size: int) -> None:
        """Run the first ``size`` waiting clips and pool the steps that are new in each."""
        parts = [self._clips.popleft() for _ in range(size)]
        if not parts:
            return
        assert isinstance(self._network, ClipNetwork)
        for layer, values in self._network.clip_activations([clip for _, clip in parts]).items():
            for (entry, clip), steps in zip(parts, values, strict=True):
                new, times = clip.new_steps(len(steps))
                self._pool(layer, steps[new], [_Part(entry, 0, len(times), times)])
        self._count_pass()
        for entry, clip in parts:
            entry.n_pooled += clip.n_shown - clip.first_new

    def _pool(self, layer: str, activations: torch.Tensor, parts: Sequence[_Part], rows: RowSums | None = None) -> None:
        """Pool activations, each stimulus' part in its own pools; ``rows`` take the sums of all for their means."""
        spatial_pool = self._settings.spatial_pool
        try:
            # Averages over space are rounded once, at the end.
            values = activations if spatial_pool == "none" else pool_spatially(activations.float(), spatial_pool)
            if rows is not None:
                rows.take(layer, values)
            for part in parts if self._others else ():
                for name in self._others:
                    pool = part.entry.pools.get((layer, name))
                    if pool is not None:  # a broken stimulus has none any more
                        of_part = values[part.start : part.stop]
                        pool.update(of_part, part.times)
                        if isinstance(pool, KeepingPool) and not self._on_cpu:
                            self._count_kept(part.entry, of_part.nbytes)
        except ShapeError as error:
            raise ShapeError(f"layer {layer}: {error}") from error

    def _count_kept(self, entry: Entry, n_bytes: int) -> None:
        """Count what a stimulus' pools keep on a GPU; when it is too much it leaves it."""
        entry.n_kept += n_bytes
        if entry.n_kept > self._most_kept:
            for pool in entry.pools.values():
                if isinstance(pool, KeepingPool):
                    pool.leave_gpu()


def _times_of(n_times: int, frame_times: FloatArray) -> FloatArray:
    """Spread the frames' times over a layer's steps, of which there may be fewer (temporal strides)."""
    if n_times == len(frame_times):
        return frame_times
    positions = (np.arange(n_times) + 0.5) * len(frame_times) / n_times - 0.5
    return np.interp(positions, np.arange(len(frame_times)), frame_times)


def default_size(network: Network, settings: ExtractionSettings = _DEFAULTS) -> int:
    """Give the frames, windows of sound or texts per forward pass that suit a network, its pools and its device."""
    on_cpu = network.device.type == "cpu"
    if network.card.takes in ("sound", "text"):
        return _OTHERS if on_cpu else _OTHERS_ON_GPU
    size, largest = network.card.input_size, network.largest_activation
    if on_cpu:
        return default_batch(size, largest=largest)
    if any(isinstance(make_pool(name), KeepingPool) for name in settings.pools):
        kept = (one for one in network.layer_traces() if one.name in network.layers)
        largest = max(largest or 0, sum(count_features(one, settings.spatial_pool) for one in kept))
    return default_batch(size, largest=largest, gpu_memory=device_bytes(str(network.device)))


def default_batch(input_size: int, *, largest: int | None = None, gpu_memory: int | None = None) -> int:
    """Give the frames per forward pass that suit a device.

    On a CPU the largest power of two, from 4 to 64, with no more pixels than 4 frames of 224 x 224, or whose largest
    activation is no larger than ResNet-50's for 4 frames: larger batches overflow its caches, smaller ones leave it
    idle between layers. Measured on one core, ResNet-18 and -50, SqueezeNet and MobileNetV2 are within a tenth of their
    fastest so (2.1 times as fast as with 4 frames at 64 pixels); AlexNet's activations are small and its fully
    connected layers gain from 16. On a GPU up to 512, beyond which ResNet-50 gains little, if the largest activation
    then takes no more than an eighth of its memory.

    ``largest`` is the numbers in the network's largest activation for one frame, or of all that pools keep of it, None
    where that is not known; ``gpu_memory`` is in bytes, None for a CPU.
    """
    if gpu_memory is not None:
        fitting = gpu_memory / 8 / (4 * largest) if largest else 64
        return next((size for size in (512, 256, 128, 64, 32, 16, 8, 4, 2) if size <= fitting), 1)
    fitting = 4 * max((224 / input_size) ** 2, 802_816 / largest if largest else 0)
    return next((size for size in (64, 32, 16, 8) if size <= fitting), 4)
