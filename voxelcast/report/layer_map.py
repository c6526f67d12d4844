"""Which layer was chosen, ROI by subject, coloured by its depth."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

from voxelcast.report.heatmap import GRADIENT, Cell, Heatmap, coloured
from voxelcast.report.layer_profile import Depth, Network, network_of
from voxelcast.report.summary import network_label
from voxelcast.results.read import Results
from voxelcast.results.schema import Pair


def layer_map(results: Results, depth: Depth, rois: Sequence[str], subjects: Sequence[str]) -> Heatmap:
    """Lay out the number of the chosen layer, by depth; with several networks a letter before it names the network.

    The colour is the layer's place between the first layer searched (low) and the last (high) of its network.
    """
    letters = network_letters(depth)
    cells: dict[Pair, Cell] = {}
    for row in results.scores.to_dict("records"):
        network = network_of(row)
        layers, layer = depth.layers[network], str(row["layer"])
        place = layers.index(layer)
        title = (
            f"{row['roi']}, {row['subject']}: {network_label(*network)}, layer {place + 1} of {len(layers)}, {layer}"
        )
        position = place / (len(layers) - 1) if len(layers) > 1 else 0.0
        cells[str(row["subject"]), str(row["roi"])] = coloured(f"{letters[network]}{place + 1}", position, title)
    nothing = Cell("—", "", "")
    rows = tuple((roi, tuple(cells.get((subject, roi), nothing) for subject in subjects), None) for roi in rois)
    n_missing = len(rois) * len(subjects) - len(cells)
    return Heatmap(tuple(subjects), rows, "first layer", "last layer", GRADIENT, n_missing)


def network_letters(depth: Depth) -> dict[Network, str]:
    """Give each network a short name, ``A``, ``B``, ..., ``Z``, ``A1``, ...; none where there is only one."""
    if len(depth.layers) == 1:
        return dict.fromkeys(depth.layers, "")
    n = len(ascii_uppercase)
    return {
        network: ascii_uppercase[place % n] + (f"{place // n}" if place >= n else "") + "\N{NO-BREAK SPACE}"
        for place, network in enumerate(depth.layers)
    }
