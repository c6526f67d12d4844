"""The extraction loop: stimuli in, pooled features of every layer out, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Literal

from voxelcast.core.checks import check_option
from voxelcast.core.errors import OptionError, StimulusError
from voxelcast.networks.base import Network
from voxelcast.networks.decode_ahead import FrameSource, Prefetcher, decoding
from voxelcast.networks.frame_batcher import Entry, FrameBatcher
from voxelcast.networks.gpu_copies import DeviceFrames, Feature
from voxelcast.networks.settings import ExtractionSettings
from voxelcast.networks.streams import Streams
from voxelcast.stimuli.stimulus import Stimulus

_DEFAULTS = ExtractionSettings()
_DECODE_CHUNK = 16
_GPU_CHUNK = 64  # fewer, larger copies


@dataclass(frozen=True)
class StimulusFeatures:
    """Features of one stimulus, of which the network saw ``n_frames``.

    They are float32, (n_features,), by pool and layer, in the order of the pools asked for and of the network's layers:
    ndarrays, or tensors where they stay on the device.
    """

    stimulus: Stimulus
    n_frames: int
    by_pool: Mapping[str, Mapping[str, Any]]

    @property
    def features(self) -> Mapping[str, Any]:
        """Features of each layer; where several pools were asked for, those of the first."""
        return next(iter(self.by_pool.values()))

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
    settings: ExtractionSettings = _DEFAULTS,
    *,
    workers: int = 2,
    batch: int | None = None,
    decoders: Literal["threads", "processes"] = "threads",
    shards: Sequence[int] = (),
) -> Iterator[StimulusFeatures | BrokenStimulus]:
    """Extract features of stimuli, in their order, decoding some while the network looks at others.

    A network that takes frames sees them in batches of consecutive frames that may belong to several stimuli (so that
    pictures share a forward pass). Which frames share a batch follows from the list of stimuli, the sampling and
    ``batch`` alone: the same call gives the same bits on the same device. Another ``batch``, or the same stimulus in
    another list, gives the same features up to rounding (about 1e-6 relative to a layer's largest). The same holds for
    windows of sound, and texts. A network that takes clips of a fixed length sees one after the other on a CPU and
    several together elsewhere.

    Parameters
    ----------
    workers : int
        Decoding threads or processes.
    batch : int or None
        Frames per forward pass; None takes :func:`voxelcast.networks.frame_batcher.default_batch` for a network that
        takes frames, and 1 clip (8 clips on a GPU) for one that takes clips of a fixed length, which sees one clip at
        least. A network that takes whole stimuli always sees all frames of one.
    decoders : {"threads", "processes"}
        Threads decode a few thousand frames a second at most, of any number; processes as many as there are cores, but
        take a second to start (they are kept for the next call), and 32 MiB each.
    shards : sequence of int
        How many stimuli, one after the other, share forward passes; what comes later shares none with them, as if each
        were a call of its own. Left out: all.

    Yields
    ------
    result : StimulusFeatures or BrokenStimulus
        One per stimulus.

    Raises
    ------
    StimulusError
        For a broken stimulus, if ``settings.on_broken`` is ``"stop"``.
    DataError
        If a feature is not finite; the message names stimulus and layer.
    """
    check_option("decoders", decoders, ("threads", "processes"))
    if workers < 1 or (batch is not None and batch < 1):
        raise OptionError(f"workers and batch must be at least 1; got workers={workers}, batch={batch}")
    with read_ahead(network, stimuli, settings, workers, processes=decoders == "processes") as source:
        yield from extract_from(source, network, stimuli, settings, batch=batch, shards=shards)


def read_ahead(
    network: Network, stimuli: Sequence[Stimulus], settings: ExtractionSettings, workers: int, *, processes: bool
) -> AbstractContextManager[FrameSource | Streams]:
    """Decode what a network takes of stimuli; parameters as of :func:`extract`."""
    if network.card.takes in ("sound", "text"):
        return nullcontext(Streams(network, stimuli))
    if not processes:
        return Prefetcher(stimuli, settings.sampling, chunk=_DECODE_CHUNK, workers=workers)
    chunk = _DECODE_CHUNK if network.device.type == "cpu" else _GPU_CHUNK
    return decoding(stimuli, settings.sampling, chunk=chunk, workers=workers)


def extract_from(
    source: FrameSource | Streams,
    network: Network,
    stimuli: Sequence[Stimulus],
    settings: ExtractionSettings = _DEFAULTS,
    *,
    batch: int | None = None,
    shards: Sequence[int] = (),
    on_device: bool = False,
) -> Iterator[StimulusFeatures | BrokenStimulus]:
    """Extract features of stimuli whose frames, already sampled, are in memory or come from a decoder of one's own.

    Or of the sound or text of stimuli, for a network that takes these. With ``on_device`` features are tensors that
    stay where the network is. The other parameters, results and errors are those of :func:`extract`.
    """
    batcher = FrameBatcher(network, settings, batch, on_device=on_device)
    ahead: Any = nullcontext(source)
    if not isinstance(source, Streams) and network.device.type != "cpu":
        ahead = DeviceFrames(source, len(stimuli), network.device, network.prepare)
    prepare = (lambda frames: frames) if isinstance(ahead, DeviceFrames) else network.prepare
    ends = set(accumulate(shards))
    with ahead as frames:
        for position, stimulus in enumerate(stimuli):
            entry = batcher.open(stimulus)
            try:
                for chunk in frames.chunks(position):
                    batcher.feed(entry, prepare(chunk.frames), chunk.times)
            except StimulusError as error:
                if settings.on_broken == "stop":
                    raise
                entry.problem = str(error)
            batcher.end(entry)
            if position + 1 in ends:
                batcher.flush()
            yield from map(_outcome, batcher.finished(wait=False))
        batcher.flush()
        yield from map(_outcome, batcher.finished(wait=True))


def extract_stimulus(
    network: Network,
    stimulus: Stimulus,
    settings: ExtractionSettings = _DEFAULTS,
    *,
    batch: int | None = None,
) -> StimulusFeatures:
    """Extract features of one stimulus; see :func:`extract`."""
    (result,) = extract(network, [stimulus], replace(settings, on_broken="stop"), workers=1, batch=batch)
    assert isinstance(result, StimulusFeatures)
    return result


def _outcome(finished: tuple[Entry, Mapping[Feature, Any]]) -> StimulusFeatures | BrokenStimulus:
    entry, features = finished
    if entry.problem:
        return BrokenStimulus(entry.stimulus, entry.problem)
    by_pool: dict[str, dict[str, Any]] = {}
    for (layer, pool), values in features.items():
        by_pool.setdefault(pool, {})[layer] = values
    return StimulusFeatures(entry.stimulus, entry.n_pooled, by_pool)
