"""Settings of the search: what is tried, who chooses, how layers are combined, and the folds that judge it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from voxelcast.core.errors import OptionError
from voxelcast.core.settings import NO_EFFECT, settings
from voxelcast.scoring.correlation import Metric

JOINING = ("stacking", "average", "mean", "softmax")
"""Ensembles that take a model on all layers joined as one layer more."""
RULES: tuple[tuple[str, Literal["average", "softmax", "stacking", "mean"], int], ...] = (
    ("best on validation", "average", 1),
    ("mean of the 5 best", "average", 5),
    ("softmax", "softmax", 1),
    ("stacking", "stacking", 1),
    ("mean of all", "mean", 1),
)
"""Rules of winners that are compared: what they are called, and the ensemble's method and top."""
Method = Literal["exact", "bayes", "random", "grid"]
Rule = Literal["best", "one_standard_error"]
Precision = Literal["float64", "float32"]


@settings
class SearchSettings:
    """How layers and hyper-parameters are searched, and by which score.

    Parameters
    ----------
    method : str
        ``"exact"`` tries the whole grid of every encoder; ``"bayes"`` and ``"random"`` (log-uniform where the range is
        logarithmic) let Optuna propose; ``"grid"`` spreads the trials evenly.
    sampler : str
        Of ``"bayes"``: tree-structured Parzen estimators or a Gaussian process (which needs torch).
    trials : int
        Proposals for each layer and encoder; for all of them together in a joint search.
    prune : bool
        Whether a proposal is given up when its mean over the folds so far is below the median of the earlier ones'.
    joint : bool
        Whether one study searches layer, pool, number of components and encoder together.
    metric : str
        What candidates are compared by; ``"pooled_2021"`` reproduces the selection of 2021.
    stop : bool
        Whether the exact search of an ROI stops long after the peak of more than 128 counts of components; false goes
        through all. See `voxelcast.search.exact.past_peak` for when that could choose another.
    precision : str
        In which linear encoders multiply features with responses, and linear encoders and kernel ridge are scored; all
        else is in double precision. ``"float32"`` halves the memory of centred responses and takes 1 to 1.4 times less
        on a CPU. With condition number k of the features scores differ by up to 4e-6 (ridge), or the larger of 2e-7
        and 1e-9 k (``ols``, ``pls``): of 1e6 by .001, where some 2 % of voxels choose another number of components.
    """

    method: Method = "exact"
    sampler: Literal["tpe", "gp"] = "tpe"
    trials: Annotated[int, Ge(1)] = 25
    prune: bool = False
    joint: bool = False
    metric: Metric = "pearson_r"
    stop: bool = True
    precision: Precision = "float64"

    def __post_init__(self) -> None:
        for name in ("prune", "joint"):
            if getattr(self, name) and self.method not in ("bayes", "random"):
                raise OptionError(f"{name} needs method bayes or random, got method {self.method}; set {name}=false")


@settings
class SelectionSettings:
    """Who chooses among the candidates, and by which rule.

    Parameters
    ----------
    per : str
        ``"roi"``: by the mean score over voxels, one choice for all; ``"voxel"``: each voxel by its own score.
    rule : str
        ``"best"``: the highest mean over folds. ``"one_standard_error"``: of the parameters of the best candidate's
        encoder on its layer, the simplest whose mean is not further below the best than the best's standard error
        over folds. Parameters have an order from simple to complex (few components, large penalties); layers and
        encoders have none, so the rule never leaves the best one's.
    """

    per: Literal["roi", "voxel"] = "roi"
    rule: Rule = "best"

    @property
    def voxel_rule(self) -> Rule | None:
        """The rule by which each voxel chooses for itself; None where the ROI chooses."""
        return self.rule if self.per == "voxel" else None


@settings
class EnsembleSettings:
    """How the layers are combined.

    Parameters
    ----------
    method : str
        ``"none"``: the best layer alone; ``"stacking"``: non-negative weights estimated on out-of-fold predictions of
        the training folds (`voxelcast.search.ensemble`); ``"average"``: the mean prediction of the ``top`` best layers;
        ``"banded_ridge"``: one ridge regression on all layers, a penalty for each; ``"experts"``: the best layer
        and the models of the ROIs ``experts``, stacked; ``"atlases"``: each cluster of voxels has its best layer,
        averaged over ``atlases`` (`voxelcast.search.experts`); ``"mean"``: the mean prediction of all layers, which
        chooses nothing; ``"softmax"``: layers weigh ``exp(score / temperature)``.
    per : str
        ``"roi"``: one set of stacking weights for all voxels; ``"voxel"``: one for each.
    top : int
        Layers that are averaged; all, if there are fewer.
    temperature : float
        Of ``"softmax"``.
    compare : bool
        Whether `RULES` are compared: what each claims where it chose, and what it scores where it did not.
    sum_to_one : bool
        Whether stacking weights sum to 1. Free weights may undo an encoder's shrinkage: they can score a little
        higher, but where a layer's predictions are shrunk to almost nothing they grow without bound.
    draws : int
        Weights of the layers that banded ridge draws at random, besides equal weights and every layer alone; 0: equal
        weights only.
    joined : bool
        Whether the last feature space is that of all layers joined (`voxelcast.search.joined`): it enters stacking and
        averages as one layer more, and is never the best single layer.
    experts : sequence of str
        ROIs, fitted by themselves, whose models predict the others' voxels, too.
    atlases : sequence of int or str
        Numbers of clusters, found by k-means of the voxels' coefficients in the best single model; or files (.npy) of
        the cluster of every voxel, in whose path ``{subject}`` and ``{roi}`` are replaced.
    """

    method: Literal["none", "stacking", "average", "banded_ridge", "experts", "atlases", "mean", "softmax"] = "none"
    per: Literal["roi", "voxel"] = "voxel"
    top: Annotated[int, Ge(1)] = 3
    sum_to_one: bool = True
    draws: Annotated[int, Ge(0)] = 20
    joined: bool = False
    experts: tuple[str, ...] = ()
    atlases: tuple[Annotated[int, Ge(2)] | str, ...] = ()
    temperature: Annotated[float, Gt(0)] = 0.3
    compare: bool = False

    def __post_init__(self) -> None:
        for method in ("experts", "atlases"):
            if bool(getattr(self, method)) != (self.method == method):
                raise OptionError(
                    f"method {method} and {method} go together; got method {self.method} and {method} "
                    f"{list(getattr(self, method))}; set both, or neither"
                )
        if self.joined and self.method not in JOINING:
            raise OptionError(f"joined needs method {' or '.join(JOINING)}, got method {self.method}; set joined=false")


@settings
class SharingSettings:
    """Targets shared by the subjects of an ROI; 0 components: every subject by itself."""

    components: Annotated[int, Ge(0)] = 0


@settings
class FoldSettings:
    """Cross-validation; nested: the reported score comes from folds that no choice saw.

    Parameters
    ----------
    n : int, optional
        None: see `number`.
    nested : bool
    by : str
        ``"group"`` makes each group of stimuli (run, movie) a fold, whatever ``n``; ``"segment"`` divides each run of a
        time series into ``n`` segments; ``"stimulus_2021"`` makes the folds of the 2021 code,
        scikit-learn's ``RepeatedKFold(random_state=1)``.
    gap : int
        Volumes between two segments that are neither fitted nor judged.
    repeats : int
        Partitions into folds over which the whole search is done.
    unit : str
        What permutations exchange and intervals resample: ``"group"``, the groups of stimuli where there are some, else
        each stimulus; ``"stimulus"``: each stimulus, though groups are kept in one fold.
    inner : int, optional
        Inner folds of each outer fold: None for all others, or so many neighbours in the ring of folds, an even
        number. A model without two neighbours serves both, so that of n folds 2 cost 2 n + 1 trainings of each encoder
        instead of n (n + 1) / 2 + 1; 0: n + 1, for ``ensemble.method`` mean, which chooses nothing.
    """

    n: Annotated[int, Ge(2)] | None = None
    nested: bool = True
    by: Literal["stimulus", "group", "segment", "stimulus_2021"] = "stimulus"
    gap: Annotated[int, Ge(0)] = 0
    repeats: Annotated[int, Ge(1)] = 1
    unit: Literal["group", "stimulus"] = "group"
    inner: Annotated[int, Ge(0)] | None = None

    def __post_init__(self) -> None:
        if self.by in ("group", "segment") and self.repeats > 1:
            raise OptionError(
                f"repeats must be 1 where by is {self.by}, which leaves one partition; got {self.repeats}"
            )
        if self.gap and self.by != "segment":
            raise OptionError(f"gap goes with by segment; got {self.gap} and by {self.by}; set by=segment, or gap=0")
        if self.inner is not None and self.inner % 2:
            raise OptionError(f"inner must be even, half of them on either side, got {self.inner}; take 2")
        if self.nested and self.n is not None and self.n < 3:
            raise OptionError(f"n must be at least 3 for nested cross-validation, got {self.n}; or set nested=false")

    def number(self, n_stimuli: int, groups: Sequence[str] | None = None) -> int:
        """Return the number of folds: ``n``, or 5 below 100 stimuli and 10 from there.

        Groups count as stimuli do, and an interval needs two in every fold: of fewer than 10 groups there are half as
        many folds, and 3 at least.
        """
        if self.n is not None:
            return self.n
        units = n_stimuli if groups is None else len(set(groups))
        folds = 5 if units < 100 else 10
        return folds if groups is None else max(3, min(folds, units // 2))


@dataclass(frozen=True)
class PairSettings:
    """What `voxelcast.search.pair.search_pair` does with one subject x ROI.

    Parameters
    ----------
    search : SearchSettings
    selection : SelectionSettings
    ensemble : EnsembleSettings
    nested : bool
        Whether the score comes from folds that no choice saw.
    seed : int
        Of the proposals; the methods exact and grid leave nothing to chance.
    inner : int, optional
        Inner folds of each outer fold; see `FoldSettings`.
    device : str
        Where the algebra of linear encoders is done, by torch's name; scores differ by less than 1e-9.
    """

    search: SearchSettings = SearchSettings()
    selection: SelectionSettings = SelectionSettings()
    ensemble: EnsembleSettings = EnsembleSettings()
    nested: bool = True
    seed: int = 0
    inner: int | None = None
    device: Annotated[str, NO_EFFECT] = "cpu"

    @property
    def voxels_choose(self) -> bool:
        """Whether each voxel is predicted by one candidate that it chose for itself."""
        return self.selection.per == "voxel" and self.ensemble.method == "none"

    def __post_init__(self) -> None:
        if self.selection.per == "voxel" and self.search.metric != "pearson_r":
            raise OptionError(
                f"selection.per: voxels choose by search.metric pearson_r, got {self.search.metric}; "
                "set selection.per=roi"
            )
        if self.ensemble.method == "atlases" and self.selection.per != "voxel":
            raise OptionError(
                "ensemble.method atlases needs selection.per voxel, by whose scores clusters choose; got roi; set it"
            )
        if self.ensemble.joined and self.search.joint:
            raise OptionError("ensemble.joined must be false with search.joint, whose studies choose among layers")
