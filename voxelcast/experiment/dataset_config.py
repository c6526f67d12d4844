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

    def content(self) -> object:
        return self.model_dump(
            mode="json",
            exclude={"root", "stimuli", "responses", "roi_table", "split", "groups", "subjects", "rois"}
            if "kind" in type(self).model_fields
            else None,
        )


class Algonauts2021Config(Strict):
    """The Algonauts Challenge 2021, in the folder layout of its release."""

    kind: Literal["algonauts2021"]
    root: Path
    track: Literal["mini", "full"] = "mini"
    subjects: Selection = "all"
    rois: Selection = "all"


class BoldMomentsConfig(Strict):
    """BOLD Moments in the folder layout of OpenNeuro ds005165 (docs/datasets.md)."""

    kind: Literal["bold_moments"]
    root: Path
    version: Literal["A", "B"] = "B"
    space: Literal["MNI152", "fsLR32k", "fsaverage"] = "MNI152"
    files: Literal["roi", "whole_brain"] | None = None
    voxels: Literal["allvoxel", "reliable"] = "allvoxel"
    tr: Annotated[int, Field(ge=1, le=9)] | None = None
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
    masks: dict[str, str] | None = None
    unit: str = "arbitrary"
    subjects: Selection = "all"
    rois: Selection = "all"


class Algonauts2023Config(Strict):
    """One subject of the Algonauts Challenge 2023."""

    kind: Literal["algonauts2023"]
    root: Path
    subject: str = "subj01"
    rois: Selection = "all"


class Algonauts2025Config(Strict):
    """Subjects and runs of the Algonauts Challenge 2025."""

    kind: Literal["algonauts2025"]
    root: Path
    movies: Selection = "all"
    held_out: Literal["friends-s7", "ood", "none"] = "friends-s7"
    drop_first: int = Field(default=5, ge=0)
    drop_last: int = Field(default=5, ge=0)
    roi_table: str | None = None
    subjects: Selection = "all"
    rois: Selection = "all"


class TimeSeriesConfig(Strict):
    """BOLD runs with events or movies (docs/time_series.md)."""

    kind: Literal["time_series"]
    root: Path
    bold: str
    tr: float = Field(gt=0, allow_inf_nan=False)
    events: str | None = None
    movies: str | None = None
    masks: dict[str, str] | None = None
    nuisance: str | None = None
    nuisance_columns: SeveralNames | None = None
    drift: str = "cosine(128)"
    standardise: bool = True
    drop_first: int = Field(default=0, ge=0)
    drop_last: int = Field(default=0, ge=0)
    runs: Selection = "all"
    test_runs: tuple[str, ...] = ()
    unit: str = "BOLD"
    subjects: Selection = "all"
    rois: Selection = "all"


DatasetConfig = Annotated[
    Algonauts2021Config
    | Algonauts2023Config
    | Algonauts2025Config
    | BoldMomentsConfig
    | SimulatedConfig
    | FolderConfig
    | TimeSeriesConfig,
    Field(discriminator="kind"),
]

DATASET_SETTINGS: dict[str, type[Strict]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model for model in get_args(get_args(DatasetConfig)[0])
}
"""Settings of each kind."""
