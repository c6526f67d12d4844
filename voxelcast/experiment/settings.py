"""The settings of an experiment, checked by pydantic.

Relative paths are relative to the folder from which voxelcast is run, as on any command line.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from voxelcast.core.checks import check_file_name, check_option
from voxelcast.core.errors import UnknownNameError
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.budget import AutoMLSettings
from voxelcast.encoders.registry import can_be_exact, list_encoders
from voxelcast.experiment.dataset_config import DatasetConfig, SeveralNames, Strict
from voxelcast.features.compress import Compression
from voxelcast.features.compressors import COMPRESSORS
from voxelcast.features.pooling import check_pools
from voxelcast.features.space import parse_space
from voxelcast.scoring.settings import IntervalSettings, SignificanceSettings
from voxelcast.search.joined import JOINED
from voxelcast.search.settings import (
    EnsembleSettings,
    FoldSettings,
    PairSettings,
    SearchSettings,
    SelectionSettings,
    SharingSettings,
)
from voxelcast.search.variance_partitioning import VariancePartitioningSettings
from voxelcast.stimuli.sampling import FrameSampling

TABLES = "dataset"
"""What stands for a network's name where features come with the dataset."""


class NetworkConfig(Strict):
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
    clip_length: int | None = Field(default=None, ge=1)
    clip_stride: int | None = Field(default=None, ge=1)
    takes: Literal["frames", "clip"] | None = None
    licence: str | None = None
    version: str | None = None
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"

    @property
    def shown(self) -> str:
        """Name in the results."""
        return self.label or self.name.removeprefix("module:").replace(":", ".")

    @property
    def chosen_weights(self) -> str:
        """What ``weights`` means where it is left out."""
        return self.weights or ("none" if self.name.startswith("voxelcast/") else "default")


class FramesConfig(Strict):
    """Which frames of a video are looked at: every k-th, n evenly spaced, or so many per second."""

    every: int | None = Field(default=None, ge=1)
    n: int | None = Field(default=None, ge=1)
    hz: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_of_three(self) -> FramesConfig:
        if [self.every, self.n, self.hz].count(None) != 2:
            raise ValueError(
                "set exactly one of every (keep each k-th frame), n (keep n evenly spaced frames) and hz (look so "
                "often per second)"
            )
        return self

    def sampling(self) -> FrameSampling:
        """Return what the decoder is told."""
        return FrameSampling(every=self.every, n=self.n, hz=self.hz)


class CompressConfig(Strict):
    """How features become few components.

    ``fit: folds`` fits the compression again for the training part of each fold; ``once`` fits it on all training
    stimuli, as in 2021, which lets the features (not the responses) of held-out stimuli into the compression.
    ``scale`` divides each feature by its training standard deviation first. ``options`` are further parameters of the
    method, e.g. ``n_neighbors`` of ``umap``.
    """

    method: Literal["pca", "random_projection", "umap", "mds", "autoencoder", "none"] = "pca"
    components: int | Literal["max"] = 50
    fit: Literal["folds", "once"] = "folds"
    scale: bool = False
    fewer: Literal["error", "allow"] = "error"
    options: dict[str, int | float] = Field(default_factory=dict)

    @field_validator("components", mode="before")
    @classmethod
    def _positive(cls, value: object) -> object:
        if value != "max" and not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
            raise ValueError("must be a whole number of at least 1, or max")
        return value

    @model_validator(mode="after")
    def _possible(self) -> CompressConfig:
        self.compression(axis=False, seed=0)
        return self

    def compression(self, *, axis: bool, seed: int) -> Compression:
        """Return what the compression is told; the seed counts only where something is left to chance."""
        return Compression(
            method=self.method,
            components=self.components,
            scale=self.scale,
            fewer=self.fewer,
            seed=seed if self.method in COMPRESSORS and COMPRESSORS[self.method].chance else 0,
            options=self.options,
            axis=axis,
        )


class ComputeConfig(Strict):
    """Where the work runs; changes no result."""

    device: str = "cpu"
    workers: int | None = Field(default=None, ge=1)
    gpus: int | None = Field(default=None, ge=1)


class ExperimentConfig(Strict):
    """An experiment: from stimuli and responses to tuned encoding models and honest scores."""

    name: str
    dataset: DatasetConfig
    networks: tuple[NetworkConfig, ...] = ()
    features: SeveralNames | tuple[()] = ()
    delays: tuple[int, ...] = ()
    seed: int = Field(default=0, ge=0)
    frames: FramesConfig = FramesConfig(every=1)
    pool: str | tuple[str, ...] = "mean"
    space: str = "none"
    compress: CompressConfig = CompressConfig()
    encoders: SeveralNames = ("pls", "ridge")
    automl: AutoMLSettings = AutoMLSettings()
    search: SearchSettings = SearchSettings()
    selection: SelectionSettings = SelectionSettings()
    ensemble: EnsembleSettings = EnsembleSettings()
    share: SharingSettings = SharingSettings()
    folds: FoldSettings = FoldSettings()
    interval: IntervalSettings = IntervalSettings()
    significance: SignificanceSettings = SignificanceSettings()
    variance_partitioning: VariancePartitioningSettings = VariancePartitioningSettings()
    broken_stimuli: Literal["stop", "skip"] = "stop"
    invalid_voxels: Literal["stop", "exclude"] = "stop"
    control: Literal["none", "shuffle"] = "none"
    compute: ComputeConfig = ComputeConfig()

    @field_validator("name")
    @classmethod
    def _file_name(cls, value: str) -> str:
        return check_file_name(value, "name")

    @field_validator("delays")
    @classmethod
    def _rising_delays(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(delay < 0 for delay in value) or sorted(set(value)) != list(value):
            raise ValueError("must be different whole numbers of TR from 0, rising, e.g. [1, 2, 3, 4]")
        return value

    @field_validator("pool", mode="before")
    @classmethod
    def _known_pools(cls, value: object) -> object:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError("must be the name of a pool over time, or a list of names")
        try:
            check_pools(names)
        except UnknownNameError as error:
            raise ValueError(str(error)) from error
        return tuple(names) if len(names) > 1 else names[0]

    @field_validator("space")
    @classmethod
    def _known_space(cls, value: str) -> str:
        parse_space(value)
        return value

    @field_validator("encoders")
    @classmethod
    def _known_encoders(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            check_option("encoders", name, list_encoders())
            if value.count(name) > 1:
                raise ValueError(f"must name different encoders; {name} is there twice; take one out")
        return value

    @model_validator(mode="after")
    def _searchable(self) -> ExperimentConfig:
        unlisted = [name for name in self.encoders if not can_be_exact(name)]
        if self.search.method == "exact" and unlisted:
            raise ValueError(
                f"search.method: exact tries every setting, which {unlisted[0]} has too many of; "
                "set search.method=bayes"
            )
        return self

    @model_validator(mode="after")
    def _agreeing(self) -> ExperimentConfig:
        self.pair_settings  # noqa: B018  (its settings must go together)
        return self

    @model_validator(mode="after")
    def _can_share(self) -> ExperimentConfig:
        if self.share.components and self.ensemble.method == "banded_ridge":
            raise ValueError(
                f"share.components must be 0 with ensemble.method banded_ridge, got {self.share.components}; "
                "take stacking, or share none"
            )
        return self

    @model_validator(mode="after")
    def _can_join(self) -> ExperimentConfig:
        if self.ensemble.joined and self.delays:
            raise ValueError("ensemble.joined must be false with delays: it is not there for time series")
        if JOINED in [network.shown for network in self.networks]:
            raise ValueError(f"networks: {JOINED!r} is how all layers together are called; give another label")
        return self

    @model_validator(mode="after")
    def _labels_differ(self) -> ExperimentConfig:
        labels = [network.shown for network in self.networks]
        if not labels and not self.features:
            raise ValueError("networks: name at least one network, or features that come with the dataset")
        if not labels and len(self.pools) > 1:
            raise ValueError(
                f"pool: {len(self.pools)} pools need networks whose activations they pool, and there are none; "
                "leave pool out"
            )
        if self.features and TABLES in labels:
            raise ValueError(f"networks: {TABLES!r} is how the dataset's features are called; give another label")
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"networks: {twice[0]} is there twice; give one of them a label of its own")
        return self

    @property
    def pair_settings(self) -> PairSettings:
        """What is done with one subject x ROI."""
        return PairSettings(self.search, self.selection, self.ensemble, self.folds.nested, self.seed)

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools over time, each of which gives every layer features of its own."""
        return (self.pool,) if isinstance(self.pool, str) else self.pool

    def compression(self, pool: str) -> Compression:
        """Return how features that were pooled so become components."""
        return self.compress.compression(axis=pool == "pc1", seed=derive_seed(self.seed, "compress"))

    @property
    def compression_learns(self) -> bool:
        """Whether anything of the compression is estimated from training stimuli."""
        return any(self.compression(pool).learns for pool in self.pools)

    @property
    def compressed_in_folds(self) -> bool:
        """Whether the compression is fitted again for each training part."""
        return self.compress.fit == "folds" and self.compression_learns

    def results_config(self) -> dict[str, Any]:
        """Return all settings that can change a result, as plain values."""
        plain: dict[str, Any] = self.model_dump(mode="json", exclude={"compute"})
        return plain
