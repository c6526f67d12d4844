"""What networks take beside frames: windows of a stimulus' sound, and its text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import home_expanded
from voxelcast.core.errors import AlignmentError, OptionError
from voxelcast.networks.base import Network
from voxelcast.stimuli.decode import iter_sound
from voxelcast.stimuli.sampling import SoundSampling
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.readers.tables import read_table


@dataclass(frozen=True)
class StreamChunk:
    """Windows of sound, or texts, of one stimulus, for `Network.prepare`, and their moments (k,) in seconds."""

    frames: Any
    times: FloatArray


class Streams:
    """What a network that takes sound or text gets of stimuli, in their order: a source of an extraction."""

    def __init__(self, network: Network, stimuli: Sequence[Stimulus]) -> None:
        self._network, self._stimuli = network, stimuli

    def chunks(self, position: int) -> Iterator[StreamChunk]:
        """Give the chunks of the stimulus at a position; raises StimulusError where it is broken."""
        stimulus, network = self._stimuli[position], self._network
        if network.card.takes == "text":
            if stimulus.text is None:
                raise OptionError(
                    f"'{network.card.name}' takes text and stimulus {stimulus.stimulus_id!r} has none; set texts to a "
                    "table stimulus_id,text"
                )
            yield StreamChunk([stimulus.text], np.zeros(1))
            return
        assert network.sound is not None
        for windows, times in iter_sound(stimulus, network.sound, network.sound_rate):
            yield StreamChunk(windows, times)


def with_texts(stimuli: Sequence[Stimulus], texts: str | None) -> tuple[Stimulus, ...]:
    """Give stimuli their texts from a table ``stimulus_id,text`` (.csv, .tsv), which has one for each, and maybe more.

    Raises AlignmentError if a stimulus has none, or several.
    """
    if texts is None:
        return tuple(stimuli)
    found = read_texts(Path(texts), [stimulus.stimulus_id for stimulus in stimuli])
    return tuple(replace(stimulus, text=found[stimulus.stimulus_id]) for stimulus in stimuli)


def read_texts(path: Path, wanted: Sequence[str] | None = None) -> dict[str, str]:
    """Read the texts of stimuli, by their ids, from a table as of `with_texts`, which raises the same; None: of all."""
    path = home_expanded(path)
    table = read_table(path, ("stimulus_id", "text"), "texts")
    ids = table.column("stimulus_id")
    found = dict(zip(ids, table.column("text"), strict=True))
    wanted = ids if wanted is None else wanted
    for problem, bad in (
        ("no text", [name for name in wanted if not found.get(name)]),
        ("several texts", [name for name in wanted if ids.count(name) > 1] if len(found) < len(ids) else []),
    ):
        if bad:
            raise AlignmentError(
                f"{path} must have one text for each stimulus; {len(bad)} have {problem} (first {bad[0]!r}); mend it"
            )
    return {name: found[name] for name in wanted}


def newest(centres: FloatArray, sound: SoundSampling) -> slice:
    """Say which steps of a window, by their middles in seconds, lie in the 1/hz seconds before its moment.

    At least one does: the last whose middle lies before the moment.
    """
    stop = max(int((centres <= sound.look_back).sum()), 1)
    return slice(min(int((centres <= sound.look_back - 1 / sound.hz).sum()), stop - 1), stop)


def sound_code(sound: SoundSampling) -> str:
    """Name what of the sampling of sound is part of a card."""
    return (
        f"sound: {sound.hz:g} Hz, {sound.look_back:g} s back, {sound.look_ahead:g} s ahead, {sound.channels}, "
        f"without sound {sound.missing}"
    )
