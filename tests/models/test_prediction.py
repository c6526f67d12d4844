"""Saved models predict what the run predicted, to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.experiment.miniature import run, settings
from tests.models.helpers import files, held_out, written
from voxelcast.models.encoder import load_encoder

PAIR = ("ann", "all")


@pytest.mark.usefixtures("in_process")
def test_held_out_predictions_come_out_to_the_bit(images: Path, tmp_path: Path) -> None:
    held_out(images)
    output = tmp_path / "output"
    run(settings(images), output)
    ids, predictions = written(output, "ann_all")
    found = load_encoder(output).predict(files(images, ids))
    assert list(found) == [PAIR]
    assert found.ids == tuple(ids)
    np.testing.assert_array_equal(found.arrays[PAIR], predictions)
    assert found[PAIR].dims == ("stimulus", "voxel")
