"""
Which picture would drive this ROI most?
========================================

A model of 120 pictures that were shown in the scanner ranks 60 that were not. The ROI responds to red; so the best of
the new pictures are red. Of a saved model, ``vc.insilico.rank`` does the same and says how far to believe it.
"""

import matplotlib.pyplot as plt
import numpy as np

import voxelcast as vc
from voxelcast.testing.planted import example_pictures

shown, new = example_pictures(120), example_pictures(60, seed=1)


def redness(pictures):
    return (pictures[..., 0] - pictures[..., 1:].mean(axis=-1)).mean(axis=(1, 2))


noise = np.random.default_rng(0).standard_normal((120, 15))
responses = redness(shown)[:, None] / redness(shown).std() + noise  # (stimuli, voxels)

network = vc.load_network("voxelcast/motion_energy", layers=["colour"], input_size=64)
model = vc.EncodingModel("ridge").fit(vc.extract(shown, network)["colour"], responses)
predicted = model.predict(vc.extract(new, network)["colour"]).mean(axis=1)

order = np.argsort(-predicted)
figure, axes = plt.subplots(2, 6, figsize=(6, 2.2), layout="constrained")
for row, (title, chosen) in zip(axes, (("highest", order[:6]), ("lowest", order[-6:])), strict=True):
    for ax, k in zip(row, chosen, strict=True):
        ax.imshow(new[k])
        ax.set(xticks=[], yticks=[], xlabel=f"{predicted[k]:.1f}")
    row[0].set_ylabel(title)
assert redness(new[order[:6]]).min() > redness(new[order[-6:]]).max()
