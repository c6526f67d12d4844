"""
Which of several networks is reliably better?
=============================================

Every pair is compared on the same stimuli, with an interval of the difference and a p-value corrected for all pairs
(Holm), so that a place is claimed only where the data bear it. ``voxelcast sweep`` makes this table, and its page, of
experiments with any settings.
"""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np

import voxelcast as vc
from voxelcast.scoring.intervals import Judged, judge_difference, score_without
from voxelcast.scoring.permutation import holm
from voxelcast.testing.planted import example_pictures, planted_responses

pictures = example_pictures(120)
small = {"weights": "random", "input_size": 32}
networks = {
    "resnet18, late": vc.load_network("torchvision/resnet18", layers=["layer4"], **small),
    "squeezenet, early": vc.load_network("torchvision/squeezenet1_1", layers=["features.0"], **small),
    "resnet18, middle": vc.load_network("torchvision/resnet18", layers=["layer2"], **small),
    "colours": vc.load_network("voxelcast/motion_energy", layers=["colour"], input_size=64),
}
features = {name: vc.extract(pictures, network) for name, network in networks.items()}
responses = planted_responses(features["resnet18, middle"]["layer2"], components=20)

folds = np.arange(120) % 5
scores, without = {}, {}
for name, layers in features.items():
    found = vc.evaluate(layers, responses, folds=folds)
    scores[name] = found.attrs["score"]
    without[name] = score_without(responses, found["prediction"].values, Judged(folds), range(120)).without
order = sorted(scores, key=scores.get, reverse=True)
pairs = list(combinations(order, 2))
judged = [judge_difference(scores[a] - scores[b], without[a] - without[b], 5) for a, b in pairs]
corrected = holm(np.array([one.p for one in judged]))

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for y, (one, p) in enumerate(zip(judged, corrected, strict=True)):
    axes.plot([one.low, one.high], [y, y], color="C0" if p <= 0.05 else "grey")
    axes.plot(one.value, y, "o", color="C0" if p <= 0.05 else "grey")
axes.axvline(0, color="grey", linewidth=0.8)
axes.set_yticks(range(len(pairs)), [f"{a} − {b}" for a, b in pairs])
axes.set(xlabel="difference of scores; blue: corrected p ≤ 0.05", ylim=(len(pairs) - 0.5, -0.5))
assert order[0] == "resnet18, middle"
