"""Stages, in the order of the work; some are of experiments that ask for it."""

from __future__ import annotations

from typing import Final

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
ORDER: Final = (READ, EXTRACT, COMPRESS, JOIN, TRAIN_TRUNKS, TRAIN, FIT, KEEP, PROJECT, PREDICT, SHUFFLE, DIVIDE)
