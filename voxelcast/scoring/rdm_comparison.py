"""How well model RDMs agree with measured ones, what the best possible model would reach, and how sure that is.

References
----------
.. [1] Nili, H. et al. A toolbox for representational similarity analysis. PLoS Computational Biology 10, e1003553
   (2014). doi:10.1371/journal.pcbi.1003553
.. [2] Schütt, H. H. et al. Statistical inference on representational geometries. eLife 12, e82566 (2023).
   doi:10.7554/eLife.82566
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import squareform
from scipy.stats import kendalltau, rankdata

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite, check_option
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.core.seeds import generator

# Two permutations that come to the same order of values may differ by the rounding of their sums.
_TIE = 1e-12
COMPARISONS = ("spearman", "kendall_tau_a", "pearson")


def compare_rdms(models: FloatArray, measured: FloatArray, method: str = "spearman") -> FloatArray:
    """Compare every model's RDM with every measured one.

    ``spearman``: Pearson r of the ranks. ``kendall_tau_a``: (concordant - discordant) / all pairs of dissimilarities;
    it is to be preferred where a model predicts ties, which rank correlations reward [1]_. ``pearson``: of the
    dissimilarities themselves. Raises OptionError, ShapeError or DataError if the method is unknown, shapes differ, or
    values are not finite.

    Parameters
    ----------
    models : ndarray of shape (n_models, n_pairs)
    measured : ndarray of shape (n_subjects, n_pairs)

    Returns
    -------
    similarity : ndarray of shape (n_models, n_subjects)
        In [-1, 1]; NaN where all dissimilarities of an RDM are the same.
    """
    check_option("comparison", method, COMPARISONS)
    models, measured = (np.asarray(rdms, dtype=np.float64) for rdms in (models, measured))
    if models.ndim != 2 or measured.ndim != 2 or models.shape[1] != measured.shape[1]:
        raise ShapeError(
            "models and measured must have shapes (n_models, n_pairs) and (n_subjects, n_pairs); "
            f"got {models.shape} and {measured.shape}"
        )
    check_finite("model RDMs", models)
    check_finite("measured RDMs", measured)
    if method == "kendall_tau_a":
        return np.array([[_tau_a(model, subject) for subject in measured] for model in models])
    first, second = (_unit_rows(rdms, method) for rdms in (models, measured))
    return np.asarray(np.clip(first @ second.T, -1.0, 1.0))


def _unit_rows(rdms: FloatArray, method: str) -> FloatArray:
    """Centre the rows (their ranks, for Spearman) and give them unit norm; NaN where a row is constant."""
    values = rankdata(rdms, axis=1) if method == "spearman" else rdms
    centred = values - values.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    flat = np.ptp(rdms, axis=1, keepdims=True) == 0
    return np.asarray(np.divide(centred, norms, out=np.full_like(centred, np.nan), where=~flat & (norms > 0)))


def _tau_a(x: FloatArray, y: FloatArray) -> float:
    """Kendall's tau-a from tau-b: they differ by how ties are counted in the denominator."""
    n_pairs = len(x) * (len(x) - 1) / 2
    untied = [n_pairs - sum(c * (c - 1) / 2 for c in np.unique(v, return_counts=True)[1].tolist()) for v in (x, y)]
    if min(untied) == 0:
        return float("nan")
    return float(kendalltau(x, y, method="asymptotic").statistic * np.sqrt(untied[0] * untied[1]) / n_pairs)


def rdm_noise_ceiling(measured: FloatArray, method: str = "spearman") -> tuple[float, float]:
    """Bound the mean similarity to the subjects' RDMs that the true model would reach [1]_.

    Upper: mean similarity of the subjects' RDMs to their average, which no other RDM exceeds, as it is fitted to these
    very subjects (for Kendall's tau-a, nearly so). Lower: of each subject's to the average of the others. Averaged are
    ranks for Spearman and tau-a, z-scored dissimilarities for Pearson. Raises DataError if there is one subject only,
    or all dissimilarities of a subject are the same.

    Parameters
    ----------
    measured : ndarray of shape (n_subjects, n_pairs)
    method : str
        See `compare_rdms`.

    Returns
    -------
    lower, upper : float
        In the unit of ``method``.
    """
    check_option("comparison", method, COMPARISONS)
    measured = np.asarray(measured, dtype=np.float64)
    n_subjects = len(measured)
    if n_subjects < 2:
        raise DataError(f"a noise ceiling needs the RDMs of at least 2 subjects; got {n_subjects}")
    # Ranks are added up as they are: their sums are exact, so ties between them stay ties.
    scaled = _unit_rows(measured, "pearson") if method == "pearson" else rankdata(measured, axis=1)
    if (np.ptp(measured, axis=1) == 0).any():
        raise DataError("a measured RDM has the same dissimilarity everywhere; leave that subject out")
    total = scaled.sum(axis=0)
    upper = compare_rdms(total[None], measured, method).mean()
    lower = [compare_rdms((total - scaled[s])[None], measured[s : s + 1], method)[0, 0] for s in range(n_subjects)]
    return float(np.mean(lower)), float(upper)


def bootstrap_rdms(
    models: FloatArray,
    measured: FloatArray,
    method: str = "spearman",
    n_resamples: int = 1000,
    seed: int = 0,
    *,
    subjects: bool = True,
) -> FloatArray:
    """Resample stimuli (and subjects) with replacement and compare the RDMs again.

    Pairs of a stimulus with itself, which drawing one twice would make, are left out [2]_. Raises OptionError if
    ``n_resamples`` is below 1.

    Parameters
    ----------
    models : ndarray of shape (n_models, n_pairs)
    measured : ndarray of shape (n_subjects, n_pairs)
    method : str
        See `compare_rdms`.
    subjects : bool
        Resample subjects as well, to speak of the population they come from.

    Returns
    -------
    scores : ndarray of shape (n_resamples, n_models)
        Mean similarity over the subjects of each resample; the same resamples for all models.
    """
    if n_resamples < 1:
        raise OptionError(f"n_resamples must be at least 1; got {n_resamples}")
    squares = np.stack([squareform(rdm, checks=False) for rdm in (*models, *measured)])
    n_stimuli, n_models = squares.shape[1], len(models)
    rng = generator(seed, "bootstrap", "rdm")
    upper = np.triu_indices(n_stimuli, 1)
    scores = np.empty((n_resamples, n_models))
    for resample in range(n_resamples):
        drawn = np.asarray(rng.integers(0, n_stimuli, size=n_stimuli))
        people = rng.integers(0, len(measured), size=len(measured)) if subjects else np.arange(len(measured))
        first, second = drawn[upper[0]], drawn[upper[1]]
        different = first != second
        rdms = squares[:, first[different], second[different]]
        similarity = compare_rdms(rdms[:n_models], rdms[n_models:], method)
        scores[resample] = similarity[:, people].mean(axis=1)
    return scores


def permute_rdms(
    models: FloatArray, measured: FloatArray, method: str = "spearman", n_permutations: int = 1000, seed: int = 0
) -> FloatArray:
    """Shuffle the stimuli of the measured RDMs and compare them with the models' again.

    Rows and columns of an RDM are moved together, the same way for all subjects: its entries are not exchangeable, as
    each stimulus is in n_stimuli - 1 of them, and its stimuli are, if the model says nothing of them [1]_. Raises
    OptionError if ``n_permutations`` is below 1; else errors as `compare_rdms`.

    Parameters
    ----------
    models : ndarray of shape (n_models, n_pairs)
    measured : ndarray of shape (n_subjects, n_pairs)
    method : str
        See `compare_rdms`.

    Returns
    -------
    scores : ndarray of shape (n_permutations, n_models)
        Mean similarity over subjects; the same permutations for all models.
    """
    if n_permutations < 1:
        raise OptionError(f"n_permutations must be at least 1; got {n_permutations}")
    linear = method != "kendall_tau_a"
    if linear:
        compare_rdms(models, measured, method)  # checks them
        # The mean over subjects of correlations is the product with the mean of their unit vectors.
        models, measured = _unit_rows(models, method), _unit_rows(measured, method).mean(axis=0, keepdims=True)
    squares = np.stack([squareform(rdm, checks=False) for rdm in measured])
    n_stimuli = squares.shape[1]
    upper = np.triu_indices(n_stimuli, 1)
    rng = generator(seed, "permutation", "rdm")
    scores = np.empty((n_permutations, len(models)))
    for permutation in range(n_permutations):
        order = rng.permutation(n_stimuli)
        shuffled = squares[:, order[upper[0]], order[upper[1]]]
        scores[permutation] = models @ shuffled[0] if linear else compare_rdms(models, shuffled, method).mean(axis=1)
    return scores


def rdm_p_values(scores: FloatArray, permuted: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Count how often shuffled stimuli agree at least as well as the true ones.

    One-sided, the true order counted as one of the permutations, ``p = (b + 1) / (n_permutations + 1)``. The second
    takes the best of all models in each permutation, so that the probability that any model without agreement is below
    alpha is alpha at most: it is the one for a model that was chosen for being the best.

    Parameters
    ----------
    scores : ndarray of shape (n_models,)
        Mean similarity over subjects.
    permuted : ndarray of shape (n_permutations, n_models)
        See `permute_rdms`.

    Returns
    -------
    p, p_best : ndarray of shape (n_models,)
        NaN for a model without a score.
    """
    best = np.where(np.isnan(permuted), -np.inf, permuted).max(axis=1, keepdims=True)
    p, p_best = (
        np.where(np.isnan(scores), np.nan, ((among >= scores - _TIE).sum(axis=0) + 1) / (len(permuted) + 1))
        for among in (permuted, best)
    )
    return p, p_best
