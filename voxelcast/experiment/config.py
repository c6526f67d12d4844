"""The experiment file: what it may say, checked by pydantic, with one-line errors.

Relative paths are relative to the folder from which voxelcast is run, as on any command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from voxelcast.core.checks import check_file_name, check_option, nearest
from voxelcast.core.errors import ConfigError, MissingFileError, UnknownNameError
from voxelcast.encoders.registry import list_encoders
from voxelcast.features.pooling import make_pool
from voxelcast.scoring.correlation import METRICS


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


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Algonauts2021Config(_Strict):
    """The Algonauts Challenge 2021, in the folder layout of its release."""

    kind: Literal["algonauts2021"]
    root: Path
    track: Literal["mini", "full"] = "mini"
    subjects: Selection = "all"
    rois: Selection = "all"


class SimulatedConfig(_Strict):
    """What ``voxelcast simulate`` wrote."""

    kind: Literal["simulated"]
    root: Path
    subjects: Selection = "all"
    rois: Selection = "all"


class FolderConfig(_Strict):
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


class NetworkConfig(_Strict):
    """A network, its weights and the layers wanted.

    ``weights``: ``default`` (the released ones), ``random`` (seeded by the experiment's seed) or a file. Built-in
    filter banks have none.
    """

    name: str
    layers: SeveralNames
    weights: str | None = None
    input_size: int | None = Field(default=None, ge=1)
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    label: str | None = None
    noise_seed: int | None = Field(default=None, ge=0)

    @property
    def shown(self) -> str:
        """Name in the results."""
        return self.label or self.name

    @property
    def chosen_weights(self) -> str:
        """What ``weights`` means where it is left out."""
        return self.weights or ("none" if self.name.startswith("voxelcast/") else "default")


class FramesConfig(_Strict):
    """Which frames of a video are looked at: every k-th, or n evenly spaced."""

    every: int | None = Field(default=None, ge=1)
    n: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_of_two(self) -> FramesConfig:
        if (self.every is None) == (self.n is None):
            raise ValueError("set exactly one of every (keep each k-th frame) and n (keep n evenly spaced frames)")
        return self


class CompressConfig(_Strict):
    """How features become few components.

    ``fit: folds`` fits the compression again for the training part of each fold; ``once`` fits it on all training
    stimuli, as in 2021, which lets the features (not the responses) of held-out stimuli into the compression.
    ``scale`` divides each feature by its training standard deviation first.
    """

    method: Literal["pca", "none"] = "pca"
    components: int | Literal["max"] = 50
    fit: Literal["folds", "once"] = "folds"
    scale: bool = False
    fewer: Literal["error", "allow"] = "error"

    @field_validator("components", mode="before")
    @classmethod
    def _positive(cls, value: object) -> object:
        if value != "max" and not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
            raise ValueError("must be a whole number of at least 1, or max")
        return value


class SearchConfig(_Strict):
    """How layers and hyper-parameters are searched, and by which score."""

    method: Literal["exact", "bayes"] = "exact"
    trials: int = Field(default=25, ge=1)
    metric: str = "pearson_r"

    @field_validator("metric")
    @classmethod
    def _known(cls, value: str) -> str:
        check_option("search.metric", value, sorted(METRICS))
        return value


class FoldsConfig(_Strict):
    """Cross-validation: n folds; nested: the reported score comes from folds that no choice saw."""

    n: int = Field(default=10, ge=2)
    nested: bool = True

    @model_validator(mode="after")
    def _enough_to_nest(self) -> FoldsConfig:
        if self.nested and self.n < 3:
            raise ValueError(f"n must be at least 3 for nested cross-validation, got {self.n}; or set nested=false")
        return self


class IntervalConfig(_Strict):
    """Bootstrap interval of the score over stimuli."""

    resamples: int = Field(default=1000, ge=100)
    level: float = Field(default=0.95, gt=0, lt=1)


class ComputeConfig(_Strict):
    """Where the work runs; changes no result."""

    device: str = "cpu"
    workers: int | None = Field(default=None, ge=1)


class ExperimentConfig(_Strict):
    """An experiment: from stimuli and responses to tuned encoding models and honest scores."""

    name: str
    dataset: DatasetConfig
    networks: tuple[NetworkConfig, ...] = Field(min_length=1)
    seed: int = Field(default=0, ge=0)
    frames: FramesConfig = FramesConfig(every=1)
    pool: str = "mean"
    grid: int | None = Field(default=None, ge=1)
    compress: CompressConfig = CompressConfig()
    encoders: SeveralNames = ("pls", "ridge")
    search: SearchConfig = SearchConfig()
    folds: FoldsConfig = FoldsConfig()
    interval: IntervalConfig = IntervalConfig()
    broken_stimuli: Literal["stop", "skip"] = "stop"
    invalid_voxels: Literal["stop", "exclude"] = "stop"
    control: Literal["none", "shuffle"] = "none"
    compute: ComputeConfig = ComputeConfig()

    @field_validator("name")
    @classmethod
    def _file_name(cls, value: str) -> str:
        return check_file_name(value, "name")

    @field_validator("pool")
    @classmethod
    def _known_pool(cls, value: str) -> str:
        try:
            make_pool(value)
        except UnknownNameError as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("encoders")
    @classmethod
    def _known_encoders(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            check_option("encoders", name, list_encoders())
        return value

    @model_validator(mode="after")
    def _labels_differ(self) -> ExperimentConfig:
        labels = [network.shown for network in self.networks]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"networks: {twice[0]} is there twice; give one of them a label of its own")
        return self

    def results_config(self) -> dict[str, Any]:
        """Return all settings that can change a result, as plain values."""
        plain: dict[str, Any] = self.model_dump(mode="json", exclude={"compute"})
        return plain


def load_config(path: Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read an experiment file and apply overrides such as ``search.method=bayes`` or ``networks.0.weights=random``.

    Raises
    ------
    MissingFileError
        If there is no such file.
    ConfigError
        If it is no YAML mapping, or a setting is unknown or not allowed.
    """
    try:
        raw = yaml.safe_load(path.read_text())
    except (FileNotFoundError, IsADirectoryError) as error:
        raise MissingFileError(f"experiment file {path} does not exist; write one, or see examples/") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold settings like 'name: v4'; got {type(raw).__name__}")
    for override in overrides:
        _apply_override(raw, override)
    return parse_config(raw, str(path))


def parse_config(raw: dict[str, Any], source: str) -> ExperimentConfig:
    """Check settings; raise ConfigError with the first thing that is wrong."""
    try:
        return ExperimentConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_first_problem(error)}") from error


def _apply_override(raw: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"an override must be key=value, e.g. search.method=bayes; got {override!r}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not YAML") from error
    *parents, last = key.split(".")
    here: Any = raw
    for part in parents:
        here = _descend(here, part, override)
    if isinstance(here, list):
        here[_position(here, last, override)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise ConfigError(f"override {override!r}: there is nothing below {'.'.join(parents)}")


def _descend(here: Any, part: str, override: str) -> Any:
    if isinstance(here, list):
        return here[_position(here, part, override)]
    if isinstance(here, dict):
        if not isinstance(here.get(part), dict | list):
            here[part] = {}
        return here[part]
    raise ConfigError(f"override {override!r}: there is nothing below {part!r}")


def _position(here: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(here):
        raise ConfigError(f"override {override!r}: the list has places 0 to {len(here) - 1}; got {part!r}")
    return int(part)


def _first_problem(error: ValidationError) -> str:
    problems = error.errors()
    # A misspelt setting often leaves another one missing: the misspelling is what to mend.
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    where = [part for part in first["loc"] if part not in _tags()]
    name = ".".join(map(str, where)) or "the experiment"
    if first["type"] == "extra_forbidden":
        allowed = _fields_at(where[:-1], first["loc"])
        near = nearest(str(where[-1]), allowed)
        hint = f"did you mean {near}? " if near else ""
        text = f"{name} is not a setting; {hint}allowed here: {', '.join(allowed)}"
    elif first["type"] == "missing":
        text = f"{name} is missing; add it (see examples/)"
    elif first["type"].startswith("union_tag"):
        kinds = ", ".join(sorted(_tags()))
        got = first["input"].get("kind") if isinstance(first["input"], dict) else first["input"]
        text = f"{name}.kind must be one of {kinds}; got {got!r}"
    else:
        message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        text = message if message.startswith(name) else f"{name}: {message}; got {first['input']!r}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return " ".join(text.split()) + more


def _tags() -> set[str]:
    members = get_args(get_args(DatasetConfig)[0])
    return {get_args(member.model_fields["kind"].annotation)[0] for member in members}


def _fields_at(where: Sequence[str | int], loc: Sequence[str | int]) -> list[str]:
    model: Any = ExperimentConfig
    for part in where:
        if isinstance(part, int):
            continue
        model = _model_of(model.model_fields[part].annotation, loc)
    return list(model.model_fields)


def _model_of(annotation: Any, loc: Sequence[str | int]) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    members = [_model_of(member, loc) for member in get_args(annotation) if member is not Ellipsis]
    models = [member for member in members if member is not None]
    tagged = [m for m in models if "kind" in m.model_fields and get_args(m.model_fields["kind"].annotation)[0] in loc]
    return (tagged or models or [None])[0]
