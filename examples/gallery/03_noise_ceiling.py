"""
How far from the noise ceiling?
===============================

A voxel's score beside the highest that any model can reach, estimated from how well repetitions agree. Scores of
several data sets or ROIs can be compared after division by their ceilings.
"""

import matplotlib.pyplot as plt
import numpy as np

import voxelcast as vc
from voxelcast.testing.planted import planted_responses

rng = np.random.default_rng(0)
features = rng.standard_normal((200, 30))
noise = np.linspace(0.5, 4, 60)  # of each voxel; its signal has standard deviation 1
responses = planted_responses(features, 60, repetitions=4, noise=noise)  # (stimuli, repetitions, voxels)

scores = vc.evaluate(vc.FeatureSpace(features, compression=None), responses, folds=5)
print(f"mean r {scores.attrs['score']:.2f}, of the ceiling {scores.attrs['noise_normalised']:.0%}")

figure, axes = plt.subplots(figsize=(4, 4), layout="constrained")
axes.plot(scores.noise_ceiling_r, scores.score, ".")
axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
axes.set(xlabel="noise ceiling (r)", ylabel="score (r)", xlim=(0, 1), ylim=(-0.1, 1), aspect="equal")
truth = np.sqrt(1 / (1 + noise**2 / 4))
assert np.abs(scores.noise_ceiling_r - truth).mean() < 0.05
