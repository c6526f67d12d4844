"""The one schema of the tables that voxelcast writes: columns, types, meanings and units.

Writer, reader, report and documentation take names and types from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

Pair = tuple[str, str]
"""Subject and ROI."""


def pair_name(subject: str, part: str) -> str:
    """Join a subject and one of its ROIs (or quantities) in the name of a file, so that no two pairs share it.

    An underscore of the subject's is written ``%5F``, for the first one ends it, and a percent sign ``%25``.

    >>> pair_name("sub-01", "V1_left"), pair_name("sub_01", "V1_left")
    ('sub-01_V1_left', 'sub%5F01_V1_left')
    """
    return f"{subject.replace('%', '%25').replace('_', '%5F')}_{part}"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    name : str
    type : {"text", "count", "number"}
    meaning : str
        In a phrase.
    unit : str
        Empty where it has none.
    needed : bool
        Whether a table without it cannot be read; outputs of earlier versions lack the others.
    only : str
        When it is there: ``""`` always, ``"pools"`` with several pools, ``"missing"`` where a subject x ROI failed.
    """

    name: str
    type: Literal["text", "count", "number"]
    meaning: str
    unit: str = ""
    needed: bool = True
    only: Literal["", "pools", "missing"] = ""


@dataclass(frozen=True)
class Table:
    """A table: its file, what a row is, and its columns in order.

    ``folds``: whether a column for each fold follows, ``fold_1`` and so on.
    """

    file: str
    row: str
    columns: tuple[Column, ...]
    folds: bool = False

    def names(self, *, pools: Sequence[str] = (), missing: bool = False, n_folds: int = 0) -> tuple[str, ...]:
        """Return the columns of one output: with these pools over time, and folds, and where a subject x ROI failed."""
        there = {"": True, "pools": len(pools) > 1, "missing": missing}
        folds = [f"fold_{k + 1}" for k in range(n_folds if self.folds else 0)]
        return (*(column.name for column in self.columns if there[column.only]), *folds)

    def markdown(self) -> str:
        """Render the columns as a table for the documentation."""
        when = {"": "", "pools": "with several pools: ", "missing": "of incomplete results: "}
        lines = ["| column | type | unit | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{column.name}` | {column.type} | {column.unit} | {when[column.only]}{column.meaning} |"
            for column in self.columns
        ]
        if self.folds:
            lines.append("| `fold_1`, `fold_2`, ... | number | | the score in each fold |")
        return "\n".join(lines)


_PAIR = (Column("subject", "text", "subject"), Column("roi", "text", "region of interest"))
_LAYER = (
    Column("network", "text", "network, by its label"),
    Column("weights", "text", "weights of the network"),
    Column("layer", "text", "layer of the network"),
    Column("pool", "text", "pool over time", needed=False, only="pools"),
)
_MODEL = (
    *_LAYER,
    Column("encoder", "text", "encoder"),
    Column("hyperparameters", "text", "its hyper-parameters; `relative_alpha` in units of the mean eigenvalue of X'X"),
)
_N_VOXELS = Column("n_voxels", "count", "voxels analysed", "voxels")

SCORES: Final = Table(
    "scores.csv",
    "a subject x ROI: what was chosen and how well it does",
    (
        *_PAIR,
        *_MODEL,
        Column("selection", "text", "who chose: `roi` or `voxel`", needed=False),
        Column("ensemble", "text", "how layers were combined", needed=False),
        Column("n_models", "count", "candidates with a weight", needed=False),
        _N_VOXELS,
        Column("n_excluded_voxels", "count", "voxels with constant or missing responses", "voxels", needed=False),
        Column("selection_score", "number", "the score by which it was chosen: the best of many, so too high"),
        Column("score", "number", "performance: r per voxel, mean over voxels", "Pearson r"),
        Column("score_low", "number", "lower end of its interval", "Pearson r"),
        Column("score_high", "number", "upper end of its interval", "Pearson r"),
        Column("no_interval", "text", "why there is none", needed=False),
        Column("score_from", "text", "`nested_cv`, `held_out` or `none`"),
        Column("n_voxels_without_score", "count", "voxels whose predictions are constant in every fold", "voxels"),
        Column("single_score", "number", "nested score of the best single candidate", "Pearson r", needed=False),
        Column("gain", "number", "score minus `single_score`, of the same voxels", "Pearson r", needed=False),
        Column("gain_low", "number", "lower end of the interval of the gain", "Pearson r", needed=False),
        Column("gain_high", "number", "upper end of the interval of the gain", "Pearson r", needed=False),
        Column("n_significant_voxels", "count", "voxels with `q_value` at most `significance.alpha`", "voxels"),
        Column("exchanged", "text", "what permutations exchanged and intervals resampled", needed=False),
        Column("noise_ceiling_r", "number", "mean over voxels of the highest r a model could reach", "Pearson r"),
        Column("noise_normalised_r", "number", "mean score over mean ceiling: 1 for a perfect model"),
        Column("held_out_score", "number", "`score` on held-out stimuli", "Pearson r"),
        Column("held_out_low", "number", "lower end of its interval", "Pearson r"),
        Column("held_out_high", "number", "upper end of its interval", "Pearson r"),
        Column(
            "held_out_n_significant_voxels", "count", "significant voxels on held-out stimuli", "voxels", needed=False
        ),
        Column("held_out_noise_ceiling_r", "number", "noise ceiling of the held-out stimuli", "Pearson r"),
        Column("missing", "text", "why the subject x ROI failed", needed=False, only="missing"),
    ),
)
SEARCH: Final = Table(
    "search.csv",
    "a candidate tried, in the order tried",
    (*_PAIR, *_MODEL, Column("score", "number", "mean over folds of the score by which candidates are compared")),
    folds=True,
)
WEIGHTS: Final = Table(
    "weights.csv",
    "a candidate that counts in the predictions",
    (
        *_PAIR,
        Column("fold", "text", "`all` of the final models, or the outer fold left out"),
        *_MODEL[:-1],
        replace(_MODEL[-1], needed=False),
        Column("selection_score", "number", "the score by which it was chosen", needed=False),
        Column("weight", "number", "its weight, mean over the voxels"),
        Column("n_voxels", "count", "voxels in whose prediction it counts", "voxels"),
    ),
)
LAYERS: Final = Table(
    "layers.csv",
    "a layer, of several pools a layer and pool",
    (
        _LAYER[0],
        *_LAYER[2:],
        Column("depth", "number", "place in its network: 0 its first layer, 1 its last; none of filters", needed=False),
        Column("n_features", "count", "features before the compression"),
        Column("n_components", "count", "components after it"),
        Column("explained_variance", "number", "share of the features' variance that the components have"),
    ),
)
EXCLUSIONS: Final = Table(
    "exclusions.csv",
    "a stimulus or voxel that was left out",
    (
        Column("kind", "text", "`stimulus` or `voxel`"),
        *_PAIR,
        Column("name", "text", "id of the stimulus, or index of the voxel"),
        Column("reason", "text", "why it was left out"),
    ),
)
VARIANCE_PARTITIONING: Final = Table(
    "variance_partitioning.csv",
    "a part of the variance explained in a subject x ROI",
    (
        *_PAIR,
        Column("kind", "text", "`model`: R2 of the model on these groups; `unique`, `shared`: parts of R2 of all"),
        Column("part", "text", "the groups, joined by `+`"),
        Column("r2", "number", "mean over voxels", "R2"),
        Column("low", "number", "lower end of its interval", "R2"),
        Column("high", "number", "upper end of its interval", "R2"),
        Column("n_voxels", "count", "voxels with a value", "voxels", needed=False),
        Column("noise_ceiling_r2", "number", "the most that any model can explain, same voxels", "R2"),
    ),
)
GROUPS: Final = Table(
    "groups.csv",
    "a group of layers in a subject x ROI whose variance is divided",
    (
        *_PAIR,
        Column("group", "text", "of `variance_partitioning.groups`"),
        Column("lead", "number", "mean R2 of the model on this group alone minus that of the best other group", "R2"),
        Column("lead_low", "number", "lower end of its interval; above 0 where the ROI prefers the group", "R2"),
        Column("lead_high", "number", "upper end of its interval", "R2"),
        Column("lesion", "number", "fall of the mean r where the group is taken from the model on all", "Pearson r"),
        Column("lesion_low", "number", "lower end of its interval", "Pearson r"),
        Column("lesion_high", "number", "upper end of its interval", "Pearson r"),
        Column("n_preferred", "count", "voxels that prefer the group: their lead's interval lies above 0", "voxels"),
        Column("n_voxels", "count", "voxels with a value", "voxels"),
    ),
)
TRANSFER: Final = Table(
    "transfer.csv",
    "a subject x ROI of `voxelcast transfer`",
    (
        *_PAIR,
        Column("score", "number", "nested, with the help of the other subjects", "Pearson r"),
        Column("score_low", "number", "lower end of its interval", "Pearson r"),
        Column("score_high", "number", "upper end of its interval", "Pearson r"),
        Column("score_alone", "number", "nested, of a fit to the subject alone, in the same folds", "Pearson r"),
        Column("difference", "number", "of the two", "Pearson r"),
        Column("difference_low", "number", "lower end of its interval", "Pearson r"),
        Column("difference_high", "number", "upper end of its interval", "Pearson r"),
        Column("share", "number", "weight of the other subjects in the model, 0 to 1"),
        Column("least_share", "number", "the lowest that a fold chose"),
        Column("most_share", "number", "the highest that a fold chose"),
        Column("n_stimuli", "count", "training stimuli", "stimuli"),
        Column("n_voxels", "count", "voxels that were analysed", "voxels"),
        Column("n_others", "count", "models of other subjects' ROIs"),
    ),
)
_EXPERIMENT = Column("experiment", "text", "name of the experiment")
_ROI = Column("roi", "text", "region of interest, or `all ROIs`, each of which counts the same")
LEADERBOARD: Final = Table(
    "leaderboard.csv",
    "an experiment x ROI of `voxelcast sweep`",
    (
        _EXPERIMENT,
        _ROI,
        Column("place", "count", "rank by the score"),
        Column("best", "count", "1 + experiments that are reliably better (`p_corrected`)"),
        Column("worst", "count", "experiments less those that are reliably worse"),
        Column("score", "number", "mean over subjects", "Pearson r"),
        Column("score_low", "number", "lower end of its interval", "Pearson r"),
        Column("score_high", "number", "upper end of its interval", "Pearson r"),
        Column("noise_ceiling_r", "number", "mean noise ceiling", "Pearson r"),
        Column("depth", "number", "mean depth of the chosen layers, 0 to 1"),
    ),
)
DIFFERENCES: Final = Table(
    "differences.csv",
    "two experiments x ROI of `voxelcast sweep`",
    (
        _EXPERIMENT,
        Column("other", "text", "the experiment that it is compared with"),
        _ROI,
        Column("difference", "number", "score minus that of the other", "Pearson r"),
        Column("difference_low", "number", "lower end of its interval", "Pearson r"),
        Column("difference_high", "number", "upper end of its interval", "Pearson r"),
        Column("p_value", "number", "two-sided, of this difference alone"),
        Column("p_corrected", "number", "Holm's, over all pairs: `all ROIs` together, and all single ROIs together"),
        Column("not_judged", "text", "why there is none"),
    ),
)
CONTROL: Final = Table(
    "control.csv",
    "a subject x ROI with `control: shuffle`",
    (
        *_PAIR,
        Column("score", "number", "of the responses as they are", "Pearson r"),
        Column("n_shuffles", "count", "shuffles of the responses; 0 where nothing could change places"),
        Column("shuffled_mean", "number", "mean score of the shuffles", "Pearson r"),
        Column("shuffled_sd", "number", "their standard deviation", "Pearson r"),
        Column("shuffled_low", "number", "the lowest", "Pearson r"),
        Column("shuffled_high", "number", "the highest", "Pearson r"),
        Column("p_value", "number", "(shuffles that score at least as high + 1) / (shuffles + 1)"),
    ),
)
RULES: Final = Table(
    "rules.csv",
    "a rule of combining models, with `ensemble.compare`",
    (
        *_PAIR,
        Column("rule", "text", "the rule"),
        Column("claimed", "number", "score where choices and weights were made on the folds that judge", "Pearson r"),
        Column("nested", "number", "score where they were made without the fold judged", "Pearson r"),
    ),
)
TRAINING: Final = Table(
    "training.csv",
    "an epoch of a training, of encoders that are trained",
    (
        Column("encoder", "text", "encoder"),
        Column("network", "text", "network, by its label"),
        Column("trained_on", "text", "subject and ROI, or all together"),
        Column("left_out", "text", "outer fold left out, or `none`"),
        Column("variant", "count", "number of variant and seed, from 1"),
        Column("epoch", "count", "number, from 1"),
        Column("loss", "number", "mean loss"),
        Column("score", "number", "score on the stimuli set aside, where some are", "Pearson r"),
    ),
)
STIMULUS_SCORES: Final = Table(
    "stimulus_scores.csv",
    "a ROI x stimulus: how well the response pattern to it was predicted",
    (
        Column("roi", "text", "region of interest"),
        Column("stimulus_id", "text", "id of the stimulus"),
        Column("pattern_r", "number", "r over voxels, each standardised over stimuli; mean over subjects", "Pearson r"),
        Column("n_subjects", "count", "subjects with a value", "subjects"),
    ),
)
_ALL = (
    SCORES,
    STIMULUS_SCORES,
    SEARCH,
    WEIGHTS,
    LAYERS,
    EXCLUSIONS,
    VARIANCE_PARTITIONING,
    GROUPS,
    CONTROL,
    RULES,
    TRAINING,
)
TABLES: Final = {table.file: table for table in (*_ALL, LEADERBOARD, DIFFERENCES)}
"""Tables of the output of an experiment or of a sweep, by file."""

PREDICTED_STIMULI: Final = Table(
    "predictions/<subject>_<roi>_stimuli.csv",
    "the stimulus of a row of predictions",
    (
        Column("stimulus_id", "text", "id of the stimulus"),
        Column("split", "text", "`test`, or `train (out of fold)`"),
    ),
)
EXTRACTED_STIMULI: Final = Table(
    "stimuli.csv",
    "a stimulus whose features `voxelcast extract` wrote",
    (
        Column("stimulus_id", "text", "id of the stimulus"),
        Column("n_frames", "count", "frames used", "frames"),
        Column("broken", "text", "why it could not be read; it has no row in the features"),
    ),
)
RSA_LAYERS: Final = Table(
    "layers.csv",
    "a layer that `voxelcast rsa` compared",
    (
        _LAYER[0],
        _LAYER[2],
        Column("similarity", "number", "agreement with the measured RDMs, mean over subjects"),
        Column("low", "number", "lower end of the bootstrap interval over stimuli (and subjects)"),
        Column("high", "number", "upper end of that interval"),
        Column("best_share", "number", "share of the resamples in which this layer is the best"),
        Column("shuffled_low", "number", "lower end of the similarity with the stimuli shuffled"),
        Column("shuffled_high", "number", "upper end of that interval"),
        Column("p_value", "number", "permutation test of this layer"),
        Column("p_best", "number", "the same against the best of all layers in each permutation"),
    ),
)
