"""A challenge of our own: predictions of the held-out pictures in one .npy file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from voxelcast.challenges.base import Challenge, Shape
from voxelcast.challenges.registry import register_challenge
from voxelcast.challenges.scores import (
    ChallengeScore,
    Part,
    correlation,
    mean_of,
    mean_over_repetitions,
)
from voxelcast.core.arrays import FloatArray
from voxelcast.datasets.base import Dataset


@register_challenge
class LabChallenge(Challenge):
    """The mean correlation over voxels."""

    name = "lab"
    title = "Our challenge"
    rule = "lab"
    tracks = ("lab",)
    levels = ("subject", "roi")
    files: ClassVar = {"lab": ("lab.zip", "monkey.npy")}

    def shapes(self, datasets: Sequence[Dataset], track: str) -> dict[Part, Shape]:
        values = datasets[0].responses("monkey", "IT", "test").values
        return {("monkey", "IT"): (len(values), values.shape[2])}

    def stem(self, shapes: Mapping[Part, Shape]) -> str:
        return "lab"

    def members(self, shapes: Mapping[Part, Shape]) -> dict[str, int]:
        return {"monkey.npy": sum(n * m for n, m in shapes.values())}

    def encode(self, content: Mapping[str, Mapping[str, FloatArray]], shapes: Mapping[Part, Shape]) -> dict[str, bytes]:
        buffer = io.BytesIO()
        np.save(buffer, content["monkey"]["IT"], allow_pickle=False)
        return {"monkey.npy": buffer.getvalue()}

    def decode(self, files: Mapping[str, Path]) -> object:
        return {"monkey": {"IT": np.load(files["monkey.npy"], allow_pickle=False)}}

    def score(self, measured: Mapping[Part, FloatArray], predicted: Mapping[Part, FloatArray]) -> ChallengeScore:
        part = ("monkey", "IT")
        r = correlation("monkey IT", mean_over_repetitions(measured[part]), predicted[part])
        voxels = {"pearson_r": r, "score": r, "unclipped": r}
        return ChallengeScore(mean_of(r), {"monkey": mean_of(r)}, {}, {part: voxels})
