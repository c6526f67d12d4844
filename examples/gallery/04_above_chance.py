"""
Is the score above chance?
==========================

Half of the voxels have no signal. Stimuli are exchanged among predictions within folds, which gives each voxel a p, and
over voxels a q, its false discovery rate: of the voxels called significant, few are wrong.
"""

import matplotlib.pyplot as plt
import numpy as np

import voxelcast as vc
from voxelcast.testing.planted import planted_responses

rng = np.random.default_rng(0)
features = rng.standard_normal((150, 40))
responses = rng.standard_normal((150, 200))  # noise alone
responses[:, :100] += planted_responses(features, 100, noise=0.5)  # and 100 voxels with signal

scores = vc.evaluate(vc.FeatureSpace(features, compression=None), responses, folds=5)
found = scores.q_value.values <= 0.05
wrong = int(found[100:].sum())
print(f"{found.sum()} of 200 voxels significant, {wrong} of them without signal")

figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
edges = np.linspace(-0.4, 0.9, 40)
axes.hist([scores.score[found], scores.score[~found]], edges, stacked=True, label=["q ≤ 0.05", "q > 0.05"])
axes.set(xlabel="score (r)", ylabel="voxels")
axes.legend()
assert found[:100].mean() > 0.9
assert wrong <= 0.1 * found.sum()
