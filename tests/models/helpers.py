"""Small experiments whose models are saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tests.experiment.miniature import stimulus_ids, write_table
from voxelcast.core.arrays import FloatArray
from voxelcast.stimuli.stimulus import Stimulus


def split(root: Path, test: Sequence[str]) -> None:
    """Hold some stimuli out."""
    rows = [(i, "test" if i in set(test) else "train") for i in stimulus_ids(root)]
    write_table(root / "split.csv", ("stimulus_id", "split"), rows)


def held_out(root: Path, every: int = 4) -> list[str]:
    """Hold every fourth stimulus out and return their ids."""
    test = sorted(stimulus_ids(root))[::every]
    split(root, test)
    return test


def files(root: Path, ids: Sequence[str], suffix: str = ".png") -> list[Stimulus]:
    """Return the files of stimuli, by their ids."""
    return [Stimulus(i, root / "stimuli" / f"{i}{suffix}") for i in ids]


def written(output: Path, pair: str) -> tuple[list[str], FloatArray]:
    """Return the predictions that a run wrote, and their ids."""
    ids = pd.read_csv(output / "predictions" / f"{pair}_stimuli.csv")["stimulus_id"].astype(str).tolist()
    return ids, np.load(output / "predictions" / f"{pair}.npy")
