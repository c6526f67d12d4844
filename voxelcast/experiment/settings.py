"""The settings of an experiment, composed of those of the rooms and checked by pydantic.

Relative paths are relative to the folder from which voxelcast is run, as on any command line.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from voxelcast.core.checks import check_file_name, check_option
from voxelcast.core.errors import UnknownNameError
from voxelcast.core.seeds import derive_seed
from voxelcast.core.settings import NO_EFFECT, settings
from voxelcast.datasets.registry import AnyDatasetSettings
from voxelcast.datasets.settings import Listed
from voxelcast.encoders.learned.settings import FinetunedSettings, ReadoutSettings
from voxelcast.encoders.params import AutoMLSettings
from voxelcast.encoders.registry import check_exact, get_encoder, list_encoders
from voxelcast.features.settings import CompressionSettings
from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
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


@settings
class ComputeSettings:
    """Where the work runs; changes no result."""

    device: Annotated[str, NO_EFFECT] = "cpu"
    workers: Annotated[int | None, Ge(1), NO_EFFECT] = None
    gpus: Annotated[int | None, Ge(1), NO_EFFECT] = None


class SettingsFile(BaseModel):
    """Settings of a whole file: no unknown name is admitted, and they do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str

    @field_validator("name")
    @classmethod
    def _file_name(cls, value: str) -> str:
        return check_file_name(value, "name")


class ExperimentSettings(SettingsFile):
    """An experiment: from stimuli and responses to tuned encoding models and honest scores."""

    dataset: AnyDatasetSettings
    networks: tuple[NetworkSettings, ...] = ()
    features: Listed = ()
    delays: tuple[int, ...] = ()
    seed: int = Field(default=0, ge=0)
    frames: FrameSampling = FrameSampling(every=1)
    pool: str | tuple[str, ...] = "mean"
    spatial_pool: str = "none"
    compress: CompressionSettings = CompressionSettings()
    encoders: Annotated[Listed, Field(min_length=1)] = ("pls", "ridge")
    automl: AutoMLSettings = AutoMLSettings()
    readout: ReadoutSettings = ReadoutSettings()
    finetuned: FinetunedSettings = FinetunedSettings()
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
    shuffles: int = Field(default=20, ge=5)
    compute: Annotated[ComputeSettings, NO_EFFECT] = ComputeSettings()

    @field_validator("delays")
    @classmethod
    def _rising_delays(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(delay < 0 for delay in value) or sorted(set(value)) != list(value):
            raise ValueError("must be different whole numbers of TR from 0, rising, e.g. [1, 2, 3, 4]")
        return value

    @field_validator("pool", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError("must be the name of a pool over time, or a list of names")
        return tuple(names) if len(names) > 1 else names[0]

    @field_validator("encoders")
    @classmethod
    def _known_encoders(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            check_option("encoders", name, list_encoders())
            if value.count(name) > 1:
                raise ValueError(f"must name different encoders; {name} is there twice; take one out")
        return value

    @model_validator(mode="after")
    def _agreeing(self) -> ExperimentSettings:
        try:
            self.extraction  # noqa: B018  (its settings must be known)
        except UnknownNameError as error:
            raise ValueError(str(error)) from error
        check_exact([name for name in self.encoders if name not in self.learned], self.search.method)
        self._check_learned()
        self.pair_settings  # noqa: B018  (its settings must go together)
        if self.share.components and self.ensemble.method == "banded_ridge":
            raise ValueError(
                f"share.components must be 0 with ensemble.method banded_ridge, got {self.share.components}; "
                "take stacking, or share none"
            )
        if self.control != "none" and not self.folds.nested:
            raise ValueError("control=shuffle compares nested scores; set folds.nested=true, or control=none")
        if self.ensemble.joined and self.delays:
            raise ValueError("ensemble.joined must be false with delays: it is not there for time series")
        return self

    @property
    def learned(self) -> tuple[str, ...]:
        """The encoders that are trained in steps of their own."""
        return tuple(name for name in self.encoders if get_encoder(name).reads != "features")

    def _check_learned(self) -> None:
        """Raise ValueError where settings do not go with encoders that are trained in steps."""
        ensemble, inner = self.ensemble, self.folds.inner
        if inner == 0 and (ensemble.method != "mean" or ensemble.compare):
            raise ValueError(
                f"folds.inner: 0 leaves nothing to choose by: it goes with ensemble.method mean and without compare; "
                f"got {ensemble.method}; take 2"
            )
        if ensemble.compare and not self.folds.nested:
            raise ValueError("ensemble.compare needs nested folds; set folds.nested=true")
        if not self.learned:
            return
        if not self.networks:
            raise ValueError(f"encoders: {self.learned[0]} reads a network's layers; name a network, or take it out")
        others = [
            ("delays", bool(self.delays)),
            ("share.components", self.share.components > 0),
            (f"ensemble.method {ensemble.method}", ensemble.method in ("experts", "atlases", "banded_ridge")),
            ("search.joint", self.search.joint),
        ]
        for name, asked in others:
            if asked:
                raise ValueError(f"encoders: {self.learned[0]} does not go with {name}; take one of them out")

    @model_validator(mode="after")
    def _labels_differ(self) -> ExperimentSettings:
        labels = [network.shown for network in self.networks]
        if JOINED in labels:
            raise ValueError(f"networks: {JOINED!r} is how all layers together are called; give another label")
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
        return PairSettings(self.search, self.selection, self.ensemble, self.folds.nested, self.seed, self.folds.inner)

    def settings_of(self, roi: str) -> PairSettings:
        """Return what is done with an ROI: one that is an expert for others is fitted by itself."""
        plain = self.pair_settings
        return replace(plain, ensemble=EnsembleSettings()) if roi in self.ensemble.experts else plain

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools over time, each of which gives other features of every layer."""
        return (self.pool,) if isinstance(self.pool, str) else self.pool

    @property
    def extraction(self) -> ExtractionSettings:
        """What becomes of stimuli before and after a network."""
        return ExtractionSettings(self.frames, self.pools, self.spatial_pool, self.broken_stimuli)

    @property
    def compress_seed(self) -> int:
        """The compression's seed; it counts only where something is left to chance."""
        return derive_seed(self.seed, "compress") if self.compress.chance else 0

    @property
    def compression_learns(self) -> bool:
        """Whether anything of the compression is estimated from training stimuli; of pc1 the axis over time is."""
        return self.compress.learns or "pc1" in self.pools

    @property
    def compressed_in_folds(self) -> bool:
        """Whether the compression is fitted again for each training part."""
        return self.compress.fit == "folds" and self.compression_learns

    def results_config(self) -> dict[str, Any]:
        """Return all settings that can change a result, as plain values."""
        plain: dict[str, Any] = self.model_dump(mode="json", exclude={"compute"})
        return plain
