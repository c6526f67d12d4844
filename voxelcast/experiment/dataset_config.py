"""What an experiment file may say of its dataset, and the types that settings share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _several(value: object) -> object:
    """One name stands for a list of one."""
    return (value,) if isinstance(value, str) else value


def _selection(value: object) -> object:
    """Admit ``all``, a name or a list of names."""
    if value == "all":
        return value
    names = _several(value)
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError("must be all, a name or a list of names")
    return names


SeveralNames = Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)]
Selection = Annotated[Literal["all"] | tuple[str, ...], BeforeValidator(_selection)]


class Strict(BaseModel):
    """Settings that admit no unknown name and do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Algonauts2021Config(Strict):
    """The Algonauts Challenge 2021, in the folder layout of its release."""

    kind: Literal["algonauts2021"]
    root: Path
    track: Literal["mini", "full"] = "mini"
    subjects: Selection = "all"
    rois: Selection = "all"


class SimulatedConfig(Strict):
    """What ``voxelcast simulate`` wrote."""

    kind: Literal["simulated"]
    root: Path
    subjects: Selection = "all"
    rois: Selection = "all"


class FolderConfig(Strict):
    """A folder of the user's own stimuli and responses (docs/datasets.md)."""

    kind: Literal["folder"]
    root: Path
    stimuli: str | None = None
    responses: dict[str, str] | None = None
    axes: tuple[str, ...] = ("stimulus", "voxel")
    stimulus_ids: str | None = None
    roi_table: str | None = None
    split: str | None = None
    groups: str | None = None
    unit: str = "arbitrary"
    subjects: Selection = "all"
    rois: Selection = "all"


DatasetConfig = Annotated[Algonauts2021Config | SimulatedConfig | FolderConfig, Field(discriminator="kind")]

DATASET_SETTINGS: dict[str, type[Strict]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model for model in get_args(get_args(DatasetConfig)[0])
}
"""Settings of each kind."""
