"""
Does the model transfer to another subject?
===========================================

A new subject saw 40 pictures. The predictions of a model of a subject who saw 160 others are one band of the new one's
ridge regression, the network's features the other; what each counts is chosen inside the folds. ``vc.transfer`` does
this with saved models.
"""

import matplotlib.pyplot as plt
import numpy as np

import voxelcast as vc
from voxelcast.scoring.intervals import Judged, difference_interval
from voxelcast.search.settings import EnsembleSettings
from voxelcast.testing.planted import example_pictures, planted_responses

pictures = example_pictures(200)
network = vc.load_network("torchvision/resnet18", weights="random", layers=["layer2"], input_size=32)
features = vc.extract(pictures, network)["layer2"].values
rng = np.random.default_rng(0)
tuning = planted_responses(features, 3, noise=0, components=30)  # what the ROI responds to, in both subjects
responses = tuning @ rng.standard_normal((3, 40)) + 1.5 * rng.standard_normal((200, 40))
ann, bob = responses[:160, :20], responses[160:, 20:]  # other pictures, other voxels

model = vc.EncodingModel("ridge").fit(features[:160], ann)
layer = vc.FeatureSpace(features[160:], "layer2", compression=20)
other = vc.FeatureSpace(model.predict(features[160:]), "ann", compression=10)
bands = vc.EvaluationSettings(ensemble=EnsembleSettings(method="banded_ridge"))
folds = np.arange(40) % 5
alone = vc.evaluate(layer, bob, folds=folds)
helped = vc.evaluate([layer, other], bob, folds=folds, settings=bands)
gain = difference_interval(bob, helped["prediction"].values, alone["prediction"].values, Judged(folds))

figure, axes = plt.subplots(figsize=(5, 2.4), layout="constrained")
for y, found in enumerate((alone.attrs, helped.attrs)):
    axes.barh(y, found["score"], color=("lightgrey", "C0")[y])
    axes.plot([found["score_low"], found["score_high"]], [y, y], color="black")
axes.set_yticks([0, 1], ["bob alone", "with ann's model"])
axes.set(xlabel="score (mean r)", title=f"95 % interval of the gain: {gain.low:.2f} to {gain.high:.2f}")
assert gain.low > 0
