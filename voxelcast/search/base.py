"""What a search works on and what it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.encoders.base import Encoder, FittedModel
from voxelcast.encoders.params import Params
from voxelcast.search.sharing import Sharing


class FeatureSpace(Protocol):
    """The compressed features of one layer, as each fold may see them.

    Compression is an estimate, so it is fitted again for each training part (DESIGN: no leakage). ``scores`` returns
    the features of *all* stimuli, training stimuli first, computed with what was fitted on the training stimuli
    outside the folds named. A space that was fitted once on all training stimuli returns the same array always and
    says so by ``fitted_in_folds = False``.
    """

    @property
    def network(self) -> str:
        """Name of the network."""

    @property
    def layer(self) -> str:
        """Module path of the layer."""

    @property
    def pool(self) -> str:
        """Pool over time, where a layer has several spaces, one for each pool; empty where it has one."""

    @property
    def fitted_in_folds(self) -> bool:
        """Whether ``scores`` depends on the folds left out."""

    def scores(self, excluded: tuple[int, ...] = ()) -> FloatArray:
        """Return features, ndarray of shape (n_train + n_test, n_components).

        ``excluded`` names the folds left out of the fit, ascending: none for the final fit, one for cross-validation,
        two for nested cross-validation.
        """


@dataclass(frozen=True)
class GivenFeatures:
    """A feature space that holds one array for all folds."""

    network: str
    layer: str
    features: FloatArray
    fitted_in_folds: bool = False
    pool: str = ""

    def scores(self, excluded: tuple[int, ...] = ()) -> FloatArray:
        """Return the array whatever is excluded."""
        return self.features


def reads(encoder: Encoder, space: FeatureSpace) -> bool:
    """Whether an encoder takes a space: what another was trained to predict it does not, nor plain features if trained.

    Spaces of predictions name their encoder as ``trained_by``.
    """
    trained_by = getattr(space, "trained_by", "")
    return encoder.name == trained_by if trained_by else encoder.reads == "features"


def space_names(space: FeatureSpace) -> tuple[str, ...]:
    """Return what tells a feature space from the others: network and layer, and the pool where there are several."""
    return (space.network, space.layer, *([space.pool] if space.pool else []))


@dataclass(frozen=True)
class PairContext:
    """What a search has to know of its responses and feature spaces.

    Parameters
    ----------
    names : tuple of str
        Subject and ROI, say: they make the proposals of one pair independent of another's.
    truncate : bool
        Whether a joint search tries the first k components of a layer for every k: they must be principal components.
    n_delays : int
        How many features, one behind the other, are the same component at other delays (`voxelcast.features.delays`):
        a joint search takes or leaves them together.
    sharing : Sharing, optional
        Other subjects' responses: models are fitted to responses projected on what all subjects share.
    experts : mapping of str to ndarray of shape (n_train, q_e)
        Responses of the ROIs whose models take part in the prediction, for ``ensemble.method`` experts.
    atlases : sequence of ndarray of shape (q,), int
        The cluster of each voxel in each atlas that is given, for ``ensemble.method`` atlases.
    own_baseline : bool
        Whether folds have a baseline of their own, as runs do; see `voxelcast.scoring.correlation.cross_validated_r`.
    """

    names: tuple[str, ...] = ()
    truncate: bool = True
    n_delays: int = 1
    sharing: Sharing | None = None
    experts: Mapping[str, FloatArray] = field(default_factory=dict)
    atlases: Sequence[IntArray] = ()
    own_baseline: bool = False


@dataclass(frozen=True)
class Candidate:
    """One model that a search tried on one layer.

    Parameters
    ----------
    fold_scores : ndarray of shape (n_folds,)
        Mean over voxels of the score in each fold, from a model fitted to the other folds; NaN from the fold on in
        which it was given up.
    n_features : int or None
        How many of the layer's features it is given, the first ones; None: all.
    pool : str
        Of the layer over time; empty where all layers have the same.
    """

    network: str
    layer: str
    encoder: str
    params: Params
    fold_scores: FloatArray
    n_features: int | None = None
    pool: str = ""

    @property
    def score(self) -> float:
        """Mean over folds: what candidates are compared by."""
        return float(self.fold_scores.mean())


@dataclass(frozen=True)
class Share:
    """The part that one candidate has in the predictions of a subject x ROI.

    Parameters
    ----------
    weight : float
        Its weight, averaged over all voxels.
    n_voxels : int
        Voxels in which its weight is not 0.
    """

    candidate: Candidate
    weight: float
    n_voxels: int


@dataclass(frozen=True)
class Part:
    """One fitted model of the final prediction: of one encoder on one layer, each voxel with its own weight.

    Parameters
    ----------
    weights : ndarray of shape (n_voxels,)
    n_features : int
        How many of the layer's features it is given, the first ones.
    pool : str
        Of the layer over time; empty where all layers have the same.
    """

    network: str
    layer: str
    encoder: str
    model: FittedModel
    weights: FloatArray
    n_features: int
    pool: str = ""


@dataclass(frozen=True)
class RuleScore:
    """A rule that combines models, with the mean score over voxels where it saw all folds, and where it did not.

    ``claimed``: choices and weights made on all folds, judged on the same; ``nested``: made without the fold judged.
    """

    rule: str
    claimed: float
    nested: float


@dataclass(frozen=True)
class PairResult:
    """What the search found for one subject x ROI.

    Predictions are ``(1 - sum_k w_k) y_mean + sum_k w_k p_k``: the parts' predictions p_k, their weights per voxel and
    the mean training responses. Without an ensemble every voxel has one part of weight 1.

    Parameters
    ----------
    candidates : tuple of Candidate
        Every candidate tried, in the order tried.
    chosen : Candidate
        The best single one for the mean over voxels, by the selection's rule. Ties go to the candidate tried first,
        and within an encoder to the simpler parameters.
    selection_score : float
        The score of ``chosen``; where each voxel chose for itself, the mean of the voxels' best scores.
    parts : tuple of Part
        The final models, fitted to all training stimuli.
    shares : tuple of Share
        Which candidates they are and how much each counts, heaviest first.
    layer_weights : ndarray of shape (n_spaces, n_voxels)
        Weight of each layer in each voxel's prediction.
    predictions : ndarray of shape (n_test, n_voxels)
        Of the held-out stimuli.
    out_of_fold : ndarray of shape (n_train, n_voxels) or None
        Nested predictions of the training stimuli: fold j is predicted by what was selected, weighted and fitted
        without fold j. None where nested cross-validation was switched off.
    single_out_of_fold : ndarray of shape (n_train, n_voxels) or None
        The same for the best single candidate of the ROI, to compare; ``out_of_fold`` itself where that is all there
        is.
    nested_choices : tuple of Candidate
        The best single candidate of each outer fold, in the order of the folds; its ``fold_scores`` are the inner
        folds'.
    nested_shares : tuple of tuple of Share
        As ``shares``, of each outer fold.
    voxel_scores : ndarray of shape (n_voxels,) or None
        Score of the nested predictions (`voxelcast.scoring.correlation.cross_validated_r`).
    inner : ndarray of shape (n_train, n_folds) or None
        What the score's interval needs of models that leave out one fold more
        (`voxelcast.scoring.intervals.score_interval`); None of encoders whose fit is a search against the clock, of
        banded ridge and trained encoders, and where partitions were put together.
    rules : tuple of RuleScore
        Of ``ensemble.compare``.
    """

    candidates: tuple[Candidate, ...]
    chosen: Candidate
    selection_score: float
    parts: tuple[Part, ...]
    shares: tuple[Share, ...]
    layer_weights: FloatArray
    predictions: FloatArray
    out_of_fold: FloatArray | None
    single_out_of_fold: FloatArray | None
    nested_choices: tuple[Candidate, ...]
    nested_shares: tuple[tuple[Share, ...], ...]
    voxel_scores: FloatArray | None
    inner: FloatArray | None
    rules: tuple[RuleScore, ...] = ()
