"""
Does a second network add anything?
===================================

What a network explains that another does not is its unique variance. In one ROI both networks drive the responses, in
the other only the first: there the second one's unique variance is zero, within its interval.
"""

import matplotlib.pyplot as plt

import voxelcast as vc
from voxelcast.testing.planted import example_pictures, planted_responses

pictures = example_pictures(150)
deep = vc.load_network("torchvision/resnet18", weights="random", layers=["layer3"], input_size=32)
energy = vc.load_network("voxelcast/motion_energy", layers=["static.3"], input_size=64)
groups = {"resnet": vc.extract(pictures, deep), "Gabor": vc.extract(pictures, energy)}
first = planted_responses(groups["resnet"]["layer3"])
second = planted_responses(groups["Gabor"]["static.3"])
rois = {"both drive it": first + second, "resnet alone": 1.4 * first}

figure, axes = plt.subplots(figsize=(5, 2.6), layout="constrained")
adds = {}
for y, (roi, responses) in enumerate(rois.items()):
    parts = vc.variance_partitioning(groups, responses, folds=5, draws=3).sel(part="unique Gabor")
    adds[roi] = low, high = float(parts.mean_low), float(parts.mean_high)
    axes.plot([low, high], [y, y], color="C0")
    axes.plot(float(parts["mean"]), y, "o", color="C0")
axes.axvline(0, color="grey", linewidth=0.8)
axes.set_yticks(range(len(rois)), rois)
axes.set(xlabel="R² that the second network adds", ylim=(-0.5, 1.5))
assert adds["both drive it"][0] > 0
assert adds["resnet alone"][0] <= 0 <= adds["resnet alone"][1] + 0.01
