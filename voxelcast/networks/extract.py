"""The extraction loop: stimuli in, pooled features of every layer out, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite, check_option
from voxelcast.core.errors import DataError, OptionError, ShapeError, StimulusError
from voxelcast.features.pooling import TemporalPool, make_pool
from voxelcast.features.space import pool_space
from voxelcast.networks.base import Network
from voxelcast.networks.clip_network import ClipNetwork
from voxelcast.networks.clips import Clip, ClipCutter
from voxelcast.networks.prefetch import Prefetcher
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus

_DECODE_CHUNK = 16
_CLIPS = 8  # per forward pass on a GPU


@dataclass(frozen=True)
class StimulusFeatures:
    """Features of one stimulus.

    Parameters
    ----------
    stimulus : Stimulus
    n_frames : int
        Frames that the network saw.
    features : mapping from layer to ndarray of shape (n_features,), float32
        In the order of the network's layers.
    """

    stimulus: Stimulus
    n_frames: int
    features: Mapping[str, FloatArray]

    @property
    def stimulus_id(self) -> str:
        """Id of the stimulus."""
        return self.stimulus.stimulus_id


@dataclass(frozen=True)
class BrokenStimulus:
    """A stimulus that could not be read whole, and the reason in one line."""

    stimulus: Stimulus
    reason: str

    @property
    def stimulus_id(self) -> str:
        """Id of the stimulus."""
        return self.stimulus.stimulus_id


def extract(
    network: Network,
    stimuli: Sequence[Stimulus],
    sampling: FrameSampling,
    pool: str = "mean",
    *,
    space: str = "none",
    on_broken: Literal["stop", "skip"] = "stop",
    workers: int = 2,
    batch: int | None = None,
    precision: Literal["float32"] = "float32",
) -> Iterator[StimulusFeatures | BrokenStimulus]:
    """Extract features of stimuli, in their order, decoding some while the network looks at others.

    A network that takes frames sees them in batches of consecutive frames that may belong to several stimuli (so that
    pictures share a forward pass). Which frames share a batch follows from the list of stimuli, the sampling and
    ``batch`` alone: the same call gives the same bits on the same device. Another ``batch``, or the same stimulus in
    another list, gives the same features up to rounding (about 1e-6 relative to a layer's largest). A network that takes
    clips of a fixed length sees one after the other on a CPU and several together elsewhere.

    Parameters
    ----------
    network : Network
    stimuli : sequence of Stimulus
    sampling : FrameSampling
        Which frames of a video are looked at.
    pool : str
        How frames become one feature vector; one of ``voxelcast.features.pooling.list_pools()``.
    space : str
        What becomes of each channel's pixels first: ``"none"``, ``"mean"``, ``"grid(k)"`` or ``"pyramid(k, l, ...)"``;
        see ``voxelcast.features.space``.
    on_broken : {"stop", "skip"}
        Raise at the first broken stimulus, or yield its reason and go on.
    workers : int
        Decoding threads.
    batch : int or None
        Frames per forward pass; None takes :func:`default_batch` for a network that takes frames, and 1 clip (8 clips
        on a GPU) for one that takes clips of a fixed length, which sees one clip at least. A network that takes whole
        stimuli always sees all frames of one.
    precision : {"float32"}
        Of the forward pass.

    Yields
    ------
    result : StimulusFeatures or BrokenStimulus
        One per stimulus.

    Raises
    ------
    StimulusError
        For a broken stimulus, if ``on_broken="stop"``.
    DataError
        If a feature is not finite; the message names stimulus and layer.
    """
    check_option("broken_stimuli", on_broken, ("stop", "skip"))
    check_option("precision", precision, ("float32",))
    if workers < 1 or (batch is not None and batch < 1):
        raise OptionError(f"workers and batch must be at least 1; got workers={workers}, batch={batch}")
    line = _Line(network, space, batch)
    with Prefetcher(stimuli, sampling, chunk=_DECODE_CHUNK, workers=workers) as frames:
        for position, stimulus in enumerate(stimuli):
            entry = _Entry(stimulus, {layer: make_pool(pool) for layer in network.layers})
            line.add(entry)
            try:
                for chunk in frames.chunks(position):
                    line.feed(entry, network.prepare(chunk.frames), chunk.times)
            except StimulusError as error:
                if on_broken == "stop":
                    raise
                entry.problem = str(error)
            line.end(entry)
            yield from line.finished()
        line.flush()
        yield from line.finished()


def default_batch(input_size: int, *, on_cpu: bool) -> int:
    """Give the frames per forward pass that suit a device.

    On a CPU the largest power of two, from 4 to 64, with no more pixels than 4 frames of 224 x 224: larger batches
    overflow its caches, smaller ones leave it idle between layers. Measured on one core, ResNet-18 and -50, AlexNet,
    SqueezeNet and MobileNetV2 are within a tenth of their fastest so (2.1 times as fast as with 4 frames at 64 pixels),
    but for AlexNet's fully connected layers, which gain from more. Elsewhere 64.

    Parameters
    ----------
    input_size : int
        Height and width of a frame, in pixels.
    on_cpu : bool
    """
    if not on_cpu:
        return 64
    fitting = 4 * (224 / input_size) ** 2
    return next((size for size in (64, 32, 16, 8) if size <= fitting), 4)


def extract_stimulus(
    network: Network,
    stimulus: Stimulus,
    sampling: FrameSampling,
    pool: str = "mean",
    *,
    space: str = "none",
    batch: int | None = None,
) -> StimulusFeatures:
    """Extract features of one stimulus; see :func:`extract`."""
    (result,) = extract(network, [stimulus], sampling, pool, space=space, workers=1, batch=batch)
    assert isinstance(result, StimulusFeatures)
    return result


@dataclass(eq=False)
class _Entry:
    """A stimulus under way."""

    stimulus: Stimulus
    pools: dict[str, TemporalPool]
    cutter: ClipCutter | None = None
    n_fed: int = 0
    n_pooled: int = 0
    ended: bool = False
    problem: str = ""
    clip: list[tuple[torch.Tensor, FloatArray]] = field(default_factory=list)


class _Line:
    """Stimuli in the order in which they are to come out, and frames that wait for a full batch."""

    def __init__(self, network: Network, space: str, batch: int | None) -> None:
        self._network = network
        self._space = space
        self._batch = batch
        self._entries: deque[_Entry] = deque()
        self._waiting: deque[tuple[_Entry, torch.Tensor, FloatArray]] = deque()
        self._n_waiting = 0
        self._clips: deque[tuple[_Entry, Clip]] = deque()

    def add(self, entry: _Entry) -> None:
        """Open a stimulus."""
        if isinstance(self._network, ClipNetwork):
            entry.cutter = self._network.cutter()
        self._entries.append(entry)

    def feed(self, entry: _Entry, prepared: torch.Tensor, times: FloatArray) -> None:
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
        on_cpu = prepared.device.type == "cpu"
        size = self._batch or default_batch(self._network.card.input_size, on_cpu=on_cpu)
        while self._n_waiting >= size:
            self._forward(size)

    def end(self, entry: _Entry) -> None:
        """Close a stimulus: no frame of it follows."""
        entry.ended = True
        if entry.clip and not entry.problem:
            prepared = torch.cat([frames for frames, _ in entry.clip])
            times = np.concatenate([moments for _, moments in entry.clip])
            for layer, activations in self._network.activations(prepared).items():
                self._pool(entry, layer, activations, _times_of(len(activations), times))
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

    def finished(self) -> Iterator[StimulusFeatures | BrokenStimulus]:
        """Hand out, in order, the stimuli whose frames have all been pooled."""
        while self._entries and self._entries[0].ended:
            entry = self._entries[0]
            if not entry.problem and entry.n_pooled < entry.n_fed:
                return
            self._entries.popleft()
            yield BrokenStimulus(entry.stimulus, entry.problem) if entry.problem else _features(entry)

    def _forward(self, size: int) -> None:
        """Run the first ``size`` waiting frames and pool what comes out, each stimulus' part in its own pools."""
        parts: list[tuple[_Entry, torch.Tensor, FloatArray]] = []
        missing = size
        while missing:
            entry, prepared, times = self._waiting.popleft()
            parts.append((entry, prepared[:missing], times[:missing]))
            if len(prepared) > missing:
                self._waiting.appendleft((entry, prepared[missing:], times[missing:]))
            missing -= min(missing, len(prepared))
        self._n_waiting -= size
        activations = self._network.activations(torch.cat([prepared for _, prepared, _ in parts]))
        start = 0
        for entry, prepared, times in parts:
            stop = start + len(prepared)
            for layer, values in activations.items():
                self._pool(entry, layer, values[start:stop], times)
            entry.n_pooled += len(prepared)
            start = stop

    def _feed_clips(self, entry: _Entry, clips: Sequence[Clip]) -> None:
        for clip in clips:
            self._clips.append((entry, clip))
            on_cpu = clip.frames.device.type == "cpu"
            size = max(self._batch // len(clip.frames), 1) if self._batch else 1 if on_cpu else _CLIPS
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
                self._pool(entry, layer, steps[new], times)
        for entry, clip in parts:
            entry.n_pooled += clip.n_shown - clip.first_new

    def _pool(self, entry: _Entry, layer: str, activations: torch.Tensor, times: FloatArray) -> None:
        try:
            entry.pools[layer].update(pool_space(activations, self._space), times)
        except ShapeError as error:
            raise ShapeError(f"layer {layer}: {error}") from error


def _times_of(n_times: int, frame_times: FloatArray) -> FloatArray:
    """Spread the frames' times over a layer's steps, of which there may be fewer (temporal strides)."""
    if n_times == len(frame_times):
        return frame_times
    places = (np.arange(n_times) + 0.5) * len(frame_times) / n_times - 0.5
    return np.interp(places, np.arange(len(frame_times)), frame_times)


def _features(entry: _Entry) -> StimulusFeatures:
    try:
        features = {layer: pool.result() for layer, pool in entry.pools.items()}
    except DataError as error:
        raise DataError(f"{entry.stimulus.name}: {error}") from error
    for layer, values in features.items():
        check_finite(f"features of {entry.stimulus.name}, layer {layer},", values, "check the weights and mean and std")
    return StimulusFeatures(entry.stimulus, entry.n_pooled, features)
