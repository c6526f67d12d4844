"""
Which voxels does each group of layers explain?
===============================================

Early layers drive 40 voxels, late layers 40 others. The unique variance of each group tells them apart; a voxel prefers
the group whose lead over the other has an interval above zero, else it stays undecided.
"""

import matplotlib.pyplot as plt
import numpy as np

import voxelcast as vc
from voxelcast.testing.planted import example_pictures, planted_responses

pictures = example_pictures(160)
layers = ["maxpool", "layer1", "layer3", "layer4"]
network = vc.load_network("torchvision/resnet18", weights="random", layers=layers, input_size=32)
features = vc.extract(pictures, network)
groups = {"early": [features["maxpool"], features["layer1"]], "late": [features["layer3"], features["layer4"]]}
driven = [planted_responses(features[layer], 40, components=25) for layer in ("maxpool", "layer4")]
parts = vc.variance_partitioning(groups, np.hstack(driven), folds=5, draws=3)

preferred = parts.preferred.values
early, late = (parts.r2.sel(part=f"unique {group}") for group in groups)
figure, axes = plt.subplots(figsize=(4.5, 4), layout="constrained")
for name, colour in (("early", "C0"), ("late", "C1"), ("", "lightgrey")):
    chosen = preferred == name
    axes.plot(early[chosen], late[chosen], "o", color=colour, label=f"{name or 'undecided'} ({chosen.sum()})")
axes.axline((0, 0), slope=1, color="grey", linewidth=0.8)
axes.set(xlabel="unique R², early layers", ylabel="unique R², late layers")
axes.legend(title="preferred")
assert (preferred[:40] == "early").sum() > 20 > (preferred[:40] == "late").sum()
assert (preferred[40:] == "late").sum() > 20 > (preferred[40:] == "early").sum()
