"""
How does my own network compare?
================================

Any PyTorch module, beside a known network on the same stimuli and in the same folds. Both predict the same responses,
so what counts is the interval of the difference, which is narrower than those of the two scores.
"""

import matplotlib.pyplot as plt
import numpy as np
from torch import manual_seed, nn

import voxelcast as vc
from voxelcast.scoring.intervals import Judged, difference_interval
from voxelcast.testing.planted import example_pictures, planted_responses

manual_seed(0)
mine = nn.Sequential(nn.Conv2d(3, 16, 7, stride=3), nn.ReLU(), nn.AvgPool2d(3), nn.Conv2d(16, 32, 3), nn.ReLU())
half = (0.5, 0.5, 0.5)
networks = {
    "mine": vc.network_from_module(mine, "mine", layers=["1", "4"], input_size=32, mean=half, std=half),
    "resnet18": vc.load_network("torchvision/resnet18", weights="random", layers=["layer1", "layer4"], input_size=32),
}
pictures = example_pictures(150)
features = {name: vc.extract(pictures, network) for name, network in networks.items()}
responses = planted_responses(features["mine"]["4"], components=30)

folds = np.arange(150) % 5
found = {name: vc.evaluate(layers, responses, folds=folds) for name, layers in features.items()}
both = [found[name]["prediction"].values for name in networks]
difference = difference_interval(responses, *both, Judged(folds))

figure, axes = plt.subplots(figsize=(5, 2.6), layout="constrained")
rows = [(s.attrs["score"], s.attrs["score_low"], s.attrs["score_high"]) for s in found.values()]
rows.append(((difference.low + difference.high) / 2, difference.low, difference.high))
for y, (value, low, high) in enumerate(rows):
    axes.plot([low, high], [y, y], color="C0")
    axes.plot(value, y, "o", color="C0")
axes.axvline(0, color="grey", linewidth=0.8)
axes.set_yticks(range(3), [*networks, "difference"])
axes.set(xlabel="mean r", ylim=(2.5, -0.5))
assert difference.low > 0
