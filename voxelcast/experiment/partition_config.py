"""The groups of layers between which explained variance is divided: their settings, and which layers they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from pydantic import Field, field_validator

from voxelcast.core.checks import check_file_name, check_known
from voxelcast.core.errors import OptionError
from voxelcast.experiment.strict import SeveralNames, Strict

MOST_GROUPS = 4
"""Four groups have fifteen combinations, each a model; five would have thirty-one."""

Layer = tuple[str, str]
"""Network, as it is shown, and layer."""


class VariancePartitioningConfig(Strict):
    """Groups of layers between which the variance that they explain is divided; without groups nothing is.

    ``groups`` names layers or patterns (of any network; ``NETWORK:LAYER`` of one) and networks (all their layers).
    ``draws``: how many weights of a model's groups are drawn for voxels to choose from (banded ridge); 0: equal ones.
    """

    groups: dict[str, SeveralNames] = Field(default_factory=dict)
    draws: int = Field(default=10, ge=0)

    @field_validator("groups")
    @classmethod
    def _a_few(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if len(value) == 1 or len(value) > MOST_GROUPS:
            raise ValueError(f"variance is divided between 2 to {MOST_GROUPS} groups (or none)")
        for name in value:
            check_file_name(name, "variance_partitioning.groups: the name")
            if "+" in name:
                raise ValueError(f"a name must have no '+', which joins groups in the results; rename {name!r}")
        return value


def resolve_groups(groups: Mapping[str, Sequence[str]], layers: Sequence[Layer]) -> dict[str, tuple[Layer, ...]]:
    """Find the layers that each group means.

    Parameters
    ----------
    groups : mapping of str to sequence of str
        Each member is a network (all its layers), a layer or shell pattern of layers (in every network that has it), or
        ``NETWORK:LAYER``.
    layers : sequence of (network, layer)
        Those of the experiment.

    Returns
    -------
    resolved : dict of str to tuple of (network, layer)
        In the order of ``layers``.

    Raises
    ------
    UnknownNameError
        For a member that no layer of the experiment matches.
    OptionError
        If a layer is in two groups.
    """
    known = list(dict.fromkeys([*(layer for _, layer in layers), *(network for network, _ in layers)]))
    group_of_layer: dict[Layer, str] = {}
    for group, members in groups.items():
        for member in members:
            meant = [layer for layer in layers if _means(member, layer)]
            if not meant:
                full = [f"{network}:{layer}" for network, layer in layers] if ":" in member else []
                where = f"among those of the experiment (variance_partitioning.groups.{group})"
                check_known("layer or network", member, [*full, *known], where=where)
            for layer in meant:
                first = group_of_layer.setdefault(layer, group)
                if first != group:
                    raise OptionError(
                        "variance_partitioning.groups must have no layer in common; got "
                        f"{' '.join(layer)} in {first} and in {group}; take it out of one of them"
                    )
    return {group: tuple(layer for layer in layers if group_of_layer.get(layer) == group) for group in groups}


def _means(member: str, layer: Layer) -> bool:
    network, name = layer
    return member in (network, name) or fnmatchcase(name, member) or fnmatchcase(f"{network}:{name}", member)
