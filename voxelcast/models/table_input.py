"""Features that came with the data set, of which a user gives those of new stimuli."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from voxelcast.core.errors import OptionError
from voxelcast.models.card import LayerCard
from voxelcast.models.inputs import ModelInput, Needs, register_input
from voxelcast.models.stimuli import Shown


@register_input
class TableInput(ModelInput):
    """Tables of features: there is no way from stimuli to them."""

    kind = "table"

    def __init__(self, key: str, facts: Mapping[str, Any], layers: Mapping[str, LayerCard], needs: Needs) -> None:
        self._names = [one.layer for one in layers.values()]

    def features(self, shown: Shown, shards: Sequence[Sequence[int]]) -> Iterator[Mapping[str, Any]]:
        """Say that they must be given."""
        raise OptionError(
            f"the model weighs features of your own ({', '.join(self._names)}); give those of the stimuli, as an "
            ".npz or a dict with an array of each"
        )
