"""
RSA or encoding: do they agree?
===============================

Representational similarity asks whether stimuli that a layer tells apart are told apart by the ROI as well, all its
features counting the same; an encoding model may weigh features. If an ROI has some of a layer's features only, RSA can
prefer another layer; here both find the one planted.
"""

import matplotlib.pyplot as plt

import voxelcast as vc
from voxelcast.scoring.rdm import correlation_rdm
from voxelcast.scoring.rdm_comparison import compare_rdms
from voxelcast.testing.planted import example_pictures, planted_responses

pictures = example_pictures(150)
layers = ["maxpool", "layer1", "layer2", "layer3", "layer4"]
network = vc.load_network("torchvision/resnet18", weights="random", layers=layers, input_size=32)
features = vc.extract(pictures, network)
responses = planted_responses(features["layer3"], 60, components=30)

encoding = [vc.evaluate(features[layer], responses, folds=5).attrs["score"] for layer in layers]
rdms = [correlation_rdm(features[layer].values) for layer in layers]
similarity = compare_rdms(rdms, [correlation_rdm(responses)])[:, 0]

figure, axes = plt.subplots(figsize=(4.5, 3.5), layout="constrained")
axes.plot(encoding, similarity, "o")
for k, (x, y) in enumerate(zip(encoding, similarity, strict=True)):
    axes.annotate(layers[k], (x, y), xytext=(5, 4 - 13 * (k % 2)), textcoords="offset points")
axes.set(xlabel="encoding: score (mean r)", ylabel="RSA: Spearman r of dissimilarities")
axes.margins(0.2)
assert layers[max(range(5), key=encoding.__getitem__)] == "layer3"
assert layers[int(similarity.argmax())] == "layer3"
