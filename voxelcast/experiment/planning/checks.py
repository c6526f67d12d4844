"""What can be known to be wrong with an experiment before long work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from voxelcast.core.arrays import IntArray
from voxelcast.core.checks import check_known
from voxelcast.core.errors import OptionError
from voxelcast.experiment.settings import OTHERS
from voxelcast.scoring.intervals import few_stimuli
from voxelcast.scoring.permutation import Exchange
from voxelcast.search.variance_partitioning import Layer, resolve_groups

if TYPE_CHECKING:
    from voxelcast.experiment.plan import Plan


def exchange_warnings(plan: Plan, train_ids: Sequence[str], partitions: Sequence[IntArray]) -> tuple[str, ...]:
    """Say where no voxel can be significant, whatever the responses are, and where folds are small."""
    if plan.config.folds.unit == "stimulus" and plan.dataset.series is not None:
        raise OptionError(
            "folds.unit must be group for a time series, whose volumes resemble their neighbours; got stimulus; "
            "leave it out"
        )
    asked, circular = plan.config.significance, plan.dataset.series is not None
    groups = plan.units_of(train_ids)
    exchanges = [Exchange(fold_ids, groups, circular) for fold_ids in partitions if plan.config.folds.nested]
    said = [exchange.warning(asked.permutations, asked.alpha) for exchange in exchanges]
    if plan.dataset.has_test_responses:
        test_ids = plan.dataset.stimulus_ids("test")
        exchange = Exchange(np.zeros(len(test_ids), dtype=int), plan.units_of(test_ids), circular)
        warning = exchange.warning(asked.permutations, asked.alpha)
        said.append(warning and f"Held-out stimuli: {warning}")
    said += [few_stimuli(fold_ids) for fold_ids in partitions]
    return tuple(dict.fromkeys(warning for warning in said if warning))


def check_components(plan: Plan, fold_ids: IntArray) -> None:
    """Raise an error if a training part has too few stimuli for the components, whatever their values are."""
    compress = plan.config.compress
    # A random projection is not bounded by the number of stimuli.
    bounded = compress.method not in ("none", "random_projection") and compress.fewer == "error"
    bounded = bounded and plan.plain and bool(plan.config.networks)
    for name, asked, refit, remedy in (
        ("compress", compress.components if bounded else 0, None, ", or set compress.fewer=allow"),
        ("share", plan.config.share.components, True, ""),
    ):
        excluded = plan.excluded_folds(plan.n_folds, refit=refit)
        smallest = len(fold_ids) - max(np.isin(fold_ids, left_out).sum() for left_out in excluded)
        if isinstance(asked, int) and asked and asked >= smallest:
            raise OptionError(
                f"{name}.components must be below {smallest}, the number of stimuli in the smallest training part; "
                f"got {asked}; lower it{remedy}"
            )


def check_sources(plan: Plan) -> None:
    """Raise an error where features or delays do not go with the dataset."""
    for table in plan.config.tables:
        check_known("feature table", table, plan.dataset.feature_tables, where=f"in {plan.dataset.facts.title}")
    if plan.config.networks and not plan.dataset.can_be_shown:
        raise OptionError(
            "networks need pictures or videos, and this dataset has none; take networks out and set "
            f"features=[{', '.join(plan.dataset.feature_tables)}]"
        )
    if plan.config.delays and plan.dataset.series is None:
        raise OptionError("delays go with time series alone, and this dataset has single responses; leave them out")
    _check_pools(plan)


def _check_pools(plan: Plan) -> None:
    """Raise an error where the pools over time do not go with the dataset."""
    pools, videos = plan.config.pools, any(not stimulus.is_image for stimulus in plan.stimuli)
    if len(pools) > 1 and not videos:
        raise OptionError(
            "several pools need videos, and this dataset has pictures, of whose one frame all pools give the same; "
            f"set pool={pools[0]}"
        )
    responses = [pool for pool in pools if pool.startswith(("bold", "hrf("))]
    delays = [plan.config.delays_of(network.shown, "") for network in plan.config.networks]
    if plan.dataset.series is not None and responses and any(delay != (0,) for delay in delays):
        raise OptionError(
            f"pool {responses[0]} and delays model the same lag of BOLD behind the stimulus; of time series take "
            f"{responses[0]} out of pool, or set delays=[0]"
        )


def check_delays(plan: Plan) -> None:
    """Raise an error where features of a time series have no delays, or delays are of features there are not."""
    delays = plan.config.delays
    names = {OTHERS, *(name for one in plan.feature_names for name in one)}
    names |= {name for network in plan.networks for name in (network.shown, *network.layers)}
    for name in delays if isinstance(delays, dict) else ():
        check_known("feature space", name, sorted(names), where="among networks, layers and features (delays)")
    if plan.timeline is None:
        return
    if () in plan.all_delays():
        raise OptionError(
            "time series need delays, in TR, of all features: BOLD follows what was shown by 4 to 8 s; set e.g. "
            "delays=[1, 2, 3, 4], or delays=[0] for none, or delays=double_gamma"
        )
    if plan.config.search.joint and len(plan.all_delays()) > 1:
        raise OptionError("search.joint needs the same delays for all features; set them, or joint=false")


def check_learned(plan: Plan) -> None:
    """Raise OptionError where trained encoders do not go with the networks, folds or other settings."""
    config = plan.config
    if config.learned and config.folds.inner is not None and config.folds.inner >= plan.n_folds:
        raise OptionError(f"folds.inner must be below the {plan.n_folds} folds; got {config.folds.inner}; lower it")
    fixed = [network.shown for network in plan.networks if not network.trainable]
    if "finetuned" in config.encoders and fixed:
        raise OptionError(f"encoders: finetuned needs networks of torch, and {fixed[0]} is none; take readout")
    if not plan.plain and (plan.feature_names or plan.layer_groups or config.ensemble.joined or config.trunks):
        raise OptionError(
            f"encoders: {', '.join(config.learned)} read no compressed features; add ridge, or leave out features, "
            "variance_partitioning, trunks and ensemble.joined"
        )


def layer_groups(plan: Plan) -> dict[str, tuple[Layer, ...]]:
    """Find the layers of the groups between which variance is divided; empty where there are none."""
    groups = plan.config.variance_partitioning.groups
    if groups and plan.n_folds < 3:
        raise OptionError(
            f"variance_partitioning needs at least 3 folds, 2 of them to choose penalties by; got {plan.n_folds}; "
            "ask for more folds"
        )
    return resolve_groups(groups, plan.sources)


def streams(plan: Plan) -> dict[str, tuple[Layer, ...]]:
    """Find the layers that each trunk reads; raise an error where one does not go with the dataset."""
    found = {}
    for label, trunk in plan.config.trunks.items():
        streams = resolve_groups({label: trunk.streams}, plan.sources, "trunks")[label]
        found[label] = streams or tuple(plan.sources)
        for subject in trunk.unseen:
            check_known("subject", subject, plan.dataset.subjects, where=f"in trunks.{label}.unseen")
        if (trunk.kind == "temporal") != (plan.dataset.series is not None):
            raise OptionError(
                f"trunks.{label}.kind must be temporal for time series, and linear or mlp for single responses; "
                f"got {trunk.kind}"
            )
        if trunk.subjects == "all" and len(plan.fold_tables) > 1:
            raise OptionError(
                f"trunks.{label} needs the same folds in all subjects, and dataset.folds gives each its own; set "
                "subjects=each"
            )
        for pair in plan.pairs:
            if not plan.trained_on(trunk, pair):
                raise OptionError(
                    f"trunks.{label} has no subject to be trained on for {' '.join(pair)}; name fewer in unseen"
                )
    return found
