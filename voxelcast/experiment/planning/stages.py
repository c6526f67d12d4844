"""Stages, in the order of the work; some are of experiments that ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from voxelcast.execution.steps import Step

READ: Final = "read responses"
EXTRACT: Final = "extract features"
COMPRESS: Final = "compress layers"
JOIN: Final = "join layers"
TRAIN_TRUNKS: Final = "train trunks"
TRAIN: Final = "train encoders"
FIT: Final = "fit encoding models"
KEEP: Final = "keep compression"
PROJECT: Final = "compress held-out stimuli"
PREDICT: Final = "predict held-out stimuli"
SHUFFLE: Final = "fit shuffled responses"
DIVIDE: Final = "divide variance"
RESULTS: Final = "write results"
REPORT: Final = "write report"
ORDER: Final = (
    *(READ, EXTRACT, COMPRESS, JOIN, TRAIN_TRUNKS, TRAIN, FIT, KEEP, PROJECT, PREDICT, SHUFFLE, DIVIDE),
    *(RESULTS, REPORT),
)


@dataclass(frozen=True)
class Stage:
    """Steps that an experiment needs next; ``unit`` and ``wrong_ends`` as `StageRunner.attempt` takes them."""

    what: str
    steps: Sequence[Step]
    unit: str = "step"
    wrong_ends: bool = False
