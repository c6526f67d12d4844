"""What a search works on and what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.base import FittedEncoder, Setting


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
    def fitted_in_folds(self) -> bool:
        """Whether ``scores`` depends on the folds left out."""

    def scores(self, excluded: tuple[int, ...] = ()) -> FloatArray:
        """Return features, ndarray of shape (n_train + n_test, n_components).

        ``excluded`` names the folds left out of the fit, ascending: none for the final fit, one for cross-validation,
        two for nested cross-validation.
        """


@dataclass(frozen=True)
class Candidate:
    """One model that a search tried on one layer.

    Parameters
    ----------
    network, layer, encoder : str
    setting : Setting
    fold_scores : ndarray of shape (n_folds,)
        Mean over voxels of the score in each fold, from a model fitted to the other folds.
    """

    network: str
    layer: str
    encoder: str
    setting: Setting
    fold_scores: FloatArray

    @property
    def score(self) -> float:
        """Mean over folds: what candidates are compared by."""
        return float(self.fold_scores.mean())


@dataclass(frozen=True)
class PairResult:
    """What the search found for one subject x ROI.

    Parameters
    ----------
    candidates : tuple of Candidate
        Every candidate tried, in the order tried.
    chosen : Candidate
        The one with the best ``score``; its score is the ``selection_score``. Ties go to the candidate tried first.
    model : FittedEncoder
        The chosen model refitted on all training stimuli.
    predictions : ndarray of shape (n_test, n_voxels)
        Of the held-out stimuli.
    out_of_fold : ndarray of shape (n_train, n_voxels) or None
        Nested predictions of the training stimuli: fold j is predicted by the model that was selected and fitted
        without fold j. None where nested cross-validation was switched off.
    nested_choices : tuple of Candidate
        What each outer fold selected, in the order of the folds; its ``fold_scores`` are the inner folds'.
    voxel_scores : ndarray of shape (n_voxels,) or None
        Score of the nested predictions: Pearson r per voxel and outer fold, averaged over outer folds; NaN for a
        voxel whose responses or predictions are constant.
    """

    candidates: tuple[Candidate, ...]
    chosen: Candidate
    model: FittedEncoder
    predictions: FloatArray
    out_of_fold: FloatArray | None
    nested_choices: tuple[Candidate, ...]
    voxel_scores: FloatArray | None
