"""The step that writes frames as a network is shown them, which encoders are trained on with their network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from voxelcast.core.errors import DataError, StimulusError
from voxelcast.core.settings import NO_EFFECT
from voxelcast.execution.machine import available_cores
from voxelcast.execution.steps import StepContext
from voxelcast.experiment.steps.extract import ShardJob
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.result import ResultWriter


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
        from voxelcast.networks.decode_ahead import Prefetcher
        from voxelcast.networks.prepare import network_pixels

        records: list[dict[str, object]] = []
        workers = min(4, available_cores())
        with Prefetcher(self.stimuli, self.sampling, chunk=16, workers=workers) as source:
            for position, stimulus in enumerate(self.stimuli):
                try:
                    frames = network_pixels(source.chunks(position), self.side)
                except StimulusError as error:
                    if self.on_broken == "stop":
                        raise
                    records.append({"stimulus_id": stimulus.stimulus_id, "n_frames": 0, "broken": str(error)})
                    continue
                rows = writer.scratch.rows("frames", frames.shape, "uint8")
                if frames.shape != rows.shape:
                    raise DataError(
                        f"{stimulus.name}: for finetuned all stimuli must have as many frames; got {len(frames)} after "
                        f"{rows.shape[0]}; set frames: {{n: ...}} to as many as all have"
                    )
                rows.append(frames)
                records.append({"stimulus_id": stimulus.stimulus_id, "n_frames": len(frames), "broken": None})
        writer.json("stimuli", records)
