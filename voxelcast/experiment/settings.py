"""The settings of an experiment, composed of those of the rooms and checked by pydantic.

Relative paths are relative to the folder from which voxelcast is run, as on any command line.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from voxelcast.encoders.learned.trunk_settings import TRUNK, TrunkSettings
from voxelcast.encoders.params import AutoMLSettings
from voxelcast.encoders.registry import ENCODERS, check_exact, get_encoder, list_encoders
from voxelcast.experiment.own_features import OwnSource, own_source
from voxelcast.features.compressors import COMPRESSORS
from voxelcast.features.delays import Delays
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
OWN = "features"
"""What stands for a network's name where features are the user's own."""

OTHERS = "others"
"""In delays, all features that are not named there."""
FeatureSource = Literal["dataset"] | OwnSource
"""Where features are that no network made."""


@settings
class ComputeSettings:
    """Where the work runs, and what it leaves; changes no result.

    ``keep_scratch``: whether features, and their components without two folds, stay when no step is left to do that
    reads them; by default only with a shared store, where other experiments may read them.
    """

    device: Annotated[str, NO_EFFECT] = "cpu"
    workers: Annotated[int | None, Ge(1), NO_EFFECT] = None
    gpus: Annotated[int | None, Ge(1), NO_EFFECT] = None
    keep_scratch: Annotated[bool | None, NO_EFFECT] = None


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
    features: tuple[str, ...] | dict[str, FeatureSource] = ()
    delays: Delays | dict[str, Delays] = ()
    seed: int = Field(default=0, ge=0)
    frames: FrameSampling = FrameSampling(every=1)
    pool: str | tuple[str, ...] = "mean"
    spatial_pool: str = "none"
    features_as: Literal["float32", "float16"] = "float32"
    compress: CompressionSettings = CompressionSettings()
    encoders: Annotated[Listed, Field(min_length=1)] = ("pls", "ridge")
    automl: AutoMLSettings = AutoMLSettings()
    readout: ReadoutSettings = ReadoutSettings()
    finetuned: FinetunedSettings = FinetunedSettings()
    search: SearchSettings = SearchSettings()
    selection: SelectionSettings = SelectionSettings()
    ensemble: EnsembleSettings = EnsembleSettings()
    share: SharingSettings = SharingSettings()
    trunks: dict[str, TrunkSettings] = {}
    folds: FoldSettings = FoldSettings()
    interval: IntervalSettings = IntervalSettings()
    significance: SignificanceSettings = SignificanceSettings()
    variance_partitioning: VariancePartitioningSettings = VariancePartitioningSettings()
    broken_stimuli: Literal["stop", "skip"] = "stop"
    invalid_voxels: Literal["stop", "exclude"] = "stop"
    control: Literal["none", "shuffle"] = "none"
    shuffles: int = Field(default=20, ge=5)
    models: Annotated[Literal["none", "roi", "all"], NO_EFFECT] = "roi"
    compute: Annotated[ComputeSettings, NO_EFFECT] = ComputeSettings()

    @field_validator("features", mode="before")
    @classmethod
    def _tables_or_files(cls, value: object) -> object:
        if isinstance(value, Mapping):
            for name in value:
                check_file_name(str(name), "features")
            return {name: given if given == TABLES else own_source(name, given) for name, given in value.items()}
        return (value,) if isinstance(value, str) else value

    @field_validator("delays")
    @classmethod
    def _rising_delays(cls, value: Delays | dict[str, Delays]) -> Delays | dict[str, Delays]:
        for delays in value.values() if isinstance(value, dict) else (value,):
            if not isinstance(delays, str) and sorted(set(delays)) != list(delays):
                raise ValueError("must be different whole numbers of TR, rising, e.g. [1, 2, 3, 4] or [-1, 0, 1]")
        return value

    @field_validator("pool", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError("must be the name of a pool over time, or a list of names")
        return tuple(names) if len(names) > 1 else names[0]

    @field_validator("trunks")
    @classmethod
    def _file_names(cls, value: dict[str, TrunkSettings]) -> dict[str, TrunkSettings]:
        for label in value:
            check_file_name(label, "trunk")
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
        if self.trunks and (self.search.joint or self.ensemble.method == "banded_ridge"):
            raise ValueError(
                "trunks go with single layers, stacking and averages; set search.joint=false and another ensemble"
            )
        if self.control != "none" and not self.folds.nested:
            raise ValueError("control=shuffle compares nested scores; set folds.nested=true, or control=none")
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
        if TRUNK in labels:
            raise ValueError(f"networks: {TRUNK!r} is how trunks are called; give another label")
        if not labels and not self.features:
            raise ValueError("networks: name at least one network, or features")
        if not labels and len(self.pools) > 1:
            raise ValueError(
                f"pool: {len(self.pools)} pools need networks whose activations they pool, and there are none; "
                "leave pool out"
            )
        for name, used, whose in ((TABLES, self.tables, "the dataset's"), (OWN, self.own_features, "your own")):
            if used and name in labels:
                raise ValueError(f"networks: {name!r} is how {whose} features are called; give another label")
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"networks: {twice[0]} is there twice; give one of them a label of its own")
        return self

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the features that come with the dataset."""
        if isinstance(self.features, tuple):
            return self.features
        return tuple(name for name, source in self.features.items() if source == TABLES)

    @property
    def own_features(self) -> dict[str, OwnSource]:
        """The user's own features, by name."""
        if isinstance(self.features, tuple):
            return {}
        return {name: source for name, source in self.features.items() if isinstance(source, OwnSource)}

    def delays_of(self, network: str, layer: str) -> Delays:
        """Return the delays of a layer or table: by its name, its network's, or those of all others."""
        if not isinstance(self.delays, dict):
            return self.delays
        return next((self.delays[name] for name in (layer, network, OTHERS) if name in self.delays), ())

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
        return ExtractionSettings(self.frames, self.pools, self.spatial_pool, self.broken_stimuli, self.features_as)

    @property
    def unsaved(self) -> str:
        """Why fitted models cannot be saved, so that the fit itself predicts held-out stimuli; empty where they can."""
        compress = self.compress
        if compress.method != "none" and (why := COMPRESSORS.get(compress.method).unsaved):
            return f"compress.method {compress.method}: {why}"
        if compress.scale_apart:
            return "compress.scale_apart: what a stimulus is scaled by depends on the others that are predicted with it"
        if any(trunk.kind == "temporal" for trunk in self.trunks.values()):
            return "trunks: they read all layers of a stimulus together, and its neighbours in time"
        reasons = {name: ENCODERS.get(name).unsaved for name in self.encoders}
        return next((f"encoder {name}: {why}" for name, why in reasons.items() if why), "")

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
        plain: dict[str, Any] = self.model_dump(mode="json", exclude={"compute", "models"})
        return plain
