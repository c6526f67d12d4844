"""Networks and their layers by depth, as the tables, figures and the chart of the report have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, Final

import pandas as pd

from voxelcast.report.figures import PALETTE
from voxelcast.results.read import Results

Network = tuple[str, str, str]
"""Name, weights, and the pool over time where there are several (else empty): what has a line of its own."""

NETWORK: Final = ["network", "weights", "pool"]
"""The columns that tell networks from each other."""


def network_of(row: Mapping[Any, Any]) -> Network:
    """Return the network of a row of a table."""
    return str(row["network"]), str(row["weights"]), str(row["pool"])


def rows_of(table: pd.DataFrame, network: Network) -> pd.DataFrame:
    """Return the rows of a table that speak of a network."""
    name, weights, pool = network
    return table[(table["network"] == name) & (table["weights"] == weights) & (table["pool"] == pool)]


@dataclass(frozen=True)
class Depth:
    """Layers of each network in their order of depth, from the one nearest the pixels on.

    ``depths`` has each layer's place in its network, from 0 for the network's first layer to 1 for its last, whether
    those were searched or not; NaN where it has none, as filters.
    """

    layers: Mapping[Network, tuple[str, ...]]
    depths: Mapping[Network, tuple[float, ...]]
    colours: Mapping[Network, str]

    def index(self, row: Mapping[Any, Any]) -> int:
        """Return how many layers of its network lie before that of a row of a table."""
        return self.layers[network_of(row)].index(str(row["layer"]))

    def position(self, row: Mapping[Any, Any]) -> float:
        """Return how deep in its network the layer of a row lies; NaN where it has no depth."""
        return self.depths[network_of(row)][self.index(row)]

    @property
    def letters(self) -> dict[Network, str]:
        """A short name of each network, ``A``, ``B``, ..., ``Z``, ``A1``, ...; none where there is only one."""
        if len(self.layers) == 1:
            return dict.fromkeys(self.layers, "")
        rounds = [divmod(index, len(ascii_uppercase)) for index in range(len(self.layers))]
        names = [ascii_uppercase[letter] + (str(turn) if turn else "") for turn, letter in rounds]
        return dict(zip(self.layers, names, strict=True))


def layer_order(results: Results) -> Depth:
    """Order the layers: as in layers.csv, and layers that it does not list behind, as they were tried."""
    tried = pd.concat([results.search, results.scores])[[*NETWORK, "layer"]].drop_duplicates()
    layers: dict[Network, tuple[str, ...]] = {}
    depths: dict[Network, tuple[float, ...]] = {}
    known = results.layers.reindex(columns=["network", "layer", "depth"]).astype({"depth": float})
    place = {(str(name), str(layer)): depth for name, layer, depth in known.itertuples(index=False)}
    for (network, weights, pool), group in tried.groupby(NETWORK, sort=False):
        listed = results.layers.loc[results.layers["network"] == network, "layer"]
        names = set(group["layer"])
        order = [layer for layer in dict.fromkeys(listed) if layer in names]
        others = (layer for layer in group["layer"] if layer not in order)
        whole = str(network), str(weights), str(pool)
        layers[whole] = (*order, *others)
        depths[whole] = tuple(place.get((whole[0], layer), float("nan")) for layer in layers[whole])
    colours = {network: PALETTE[index % len(PALETTE)] for index, network in enumerate(layers)}
    return Depth(layers, depths, colours)
