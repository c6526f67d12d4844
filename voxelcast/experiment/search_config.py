"""Settings of the search: what is tried, who chooses, how layers are combined, and the folds that judge it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from voxelcast.core.checks import check_option
from voxelcast.experiment.strict import Strict
from voxelcast.scoring.correlation import METRICS
from voxelcast.search.ensemble import JOINING


class SearchConfig(Strict):
    """How layers and hyper-parameters are searched, and by which score.

    ``joint`` searches layer, number of principal components and encoder in one study of ``trials`` proposals;
    otherwise each layer and encoder has one. ``prune`` gives up proposals that are below the median in the first folds.
    """

    method: Literal["exact", "bayes", "random", "grid"] = "exact"
    sampler: Literal["tpe", "gp"] = "tpe"
    trials: int = Field(default=25, ge=1)
    prune: bool = False
    joint: bool = False
    metric: str = "pearson_r"

    @field_validator("metric")
    @classmethod
    def _known(cls, value: str) -> str:
        check_option("search.metric", value, sorted(METRICS))
        return value

    @model_validator(mode="after")
    def _proposals(self) -> SearchConfig:
        for name in ("prune", "joint"):
            if getattr(self, name) and self.method not in ("bayes", "random"):
                raise ValueError(f"{name} needs method bayes or random, got method {self.method}; set {name}=false")
        return self


class SelectionConfig(Strict):
    """Who chooses (the ROI, or each voxel) and by which rule."""

    per: Literal["roi", "voxel"] = "roi"
    rule: Literal["best", "one_standard_error"] = "best"


class EnsembleConfig(Strict):
    """How layers are combined: the best alone, weighted (stacking), the mean of the best, or one banded ridge.

    ``joined`` lets a model on all layers side by side enter stacking and averages as one layer more.
    """

    method: Literal["none", "stacking", "average", "banded_ridge"] = "none"
    per: Literal["roi", "voxel"] = "voxel"
    top: int = Field(default=3, ge=1)
    sum_to_one: bool = True
    draws: int = Field(default=20, ge=0)
    joined: bool = False

    @model_validator(mode="after")
    def _joins_for_something(self) -> EnsembleConfig:
        if self.joined and self.method not in JOINING:
            raise ValueError(f"joined needs method {' or '.join(JOINING)}, got method {self.method}; set joined=false")
        return self


class ShareConfig(Strict):
    """Targets shared by the subjects of a ROI; 0 components: every subject by itself."""

    components: int = Field(default=0, ge=0)


class FoldsConfig(Strict):
    """Cross-validation; nested: the reported score comes from folds that no choice saw.

    ``by: group`` makes each group of stimuli (run, movie) a fold, whatever ``n``. ``repeats`` counts the partitions
    into folds over which the whole search is done.
    """

    n: int = Field(default=10, ge=2)
    nested: bool = True
    by: Literal["stimulus", "group"] = "stimulus"
    repeats: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _enough_to_nest(self) -> FoldsConfig:
        if self.by == "group" and self.repeats > 1:
            raise ValueError(f"repeats must be 1 where by is group, which leaves one partition; got {self.repeats}")
        if self.nested and self.n < 3:
            raise ValueError(f"n must be at least 3 for nested cross-validation, got {self.n}; or set nested=false")
        return self
