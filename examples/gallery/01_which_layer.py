"""
Which layer predicts V1 best?
=============================

Each layer by itself, with the 95 % interval of its nested score; and all layers together, of which each fold chooses
one without having seen the stimuli that judge it. The layer planted is found.
"""

import matplotlib.pyplot as plt

import voxelcast as vc
from voxelcast.testing.planted import example_pictures, planted_responses

pictures = example_pictures(150)  # (stimuli, height, width, 3); or a folder of pictures or videos
layers = ["maxpool", "layer1", "layer2", "layer3", "layer4"]
network = vc.load_network("torchvision/resnet18", weights="random", layers=layers, input_size=32)
features = vc.extract(pictures, network)
v1 = planted_responses(features["layer1"], noise=2, components=20)  # (stimuli, voxels)

scores = {layer: vc.evaluate(features[layer], v1, folds=5).attrs for layer in layers}
chosen = vc.evaluate(features, v1, folds=5).attrs
print(f"chosen: {chosen['layer']}, score {chosen['score']:.2f} [{chosen['score_low']:.2f}, {chosen['score_high']:.2f}]")

figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
for x, layer in enumerate(layers):
    found = scores[layer]
    axes.plot([x, x], [found["score_low"], found["score_high"]], color="C0")
    axes.plot(x, found["score"], "o", color="C0")
axes.axhspan(chosen["score_low"], chosen["score_high"], color="C1", alpha=0.2, label="chosen inside the folds")
axes.set_xticks(range(len(layers)), layers)
axes.set(ylabel="score (mean r)", ylim=(0, None))
axes.legend(loc="lower left")
assert chosen["layer"].endswith("layer1")
