"""The settings of ``voxelcast rsa``, checked by pydantic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from voxelcast.core.checks import check_file_name
from voxelcast.experiment.dataset_config import Strict
from voxelcast.experiment.settings_file import check_settings, read_settings
from voxelcast.features.spatial_pool import parse_spatial_pool
from voxelcast.networks.settings import NetworkSettings
from voxelcast.scoring.settings import IntervalSettings


class RsaConfig(Strict):
    """Which layer's dissimilarities agree best with measured ones.

    ``stimuli``: a folder or zip of pictures, in the sorted order of their names, or a MATLAB file with a struct array
    that has a field ``image``. ``rdms``: the measured matrices, one per subject (`rdm_files`).
    """

    name: str
    stimuli: Path
    rdms: Path
    networks: tuple[NetworkSettings, ...] = Field(min_length=1)
    dissimilarity: Literal["correlation", "euclidean"] = "correlation"
    comparison: Literal["spearman", "kendall_tau_a", "pearson"] = "spearman"
    spatial_pool: str = "none"
    interval: IntervalSettings = IntervalSettings()
    resample_subjects: bool = True
    seed: int = Field(default=0, ge=0)
    device: str = "cpu"

    @field_validator("name")
    @classmethod
    def _file_name(cls, value: str) -> str:
        return check_file_name(value, "name")

    @field_validator("spatial_pool")
    @classmethod
    def _known_spatial_pool(cls, value: str) -> str:
        parse_spatial_pool(value)
        return value


def load_rsa_config(path: Path, overrides: Sequence[str] = ()) -> RsaConfig:
    """Read the settings of an analysis of dissimilarities; errors as `load_config`."""
    return check_settings(RsaConfig, read_settings(path, overrides), str(path))
