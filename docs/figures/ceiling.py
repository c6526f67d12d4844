"""Noise ceilings by the formula, from the responses alone, and reached by a model that knows the signal."""

import matplotlib.pyplot as plt
import numpy as np

from voxelcast.scoring.ceiling import mean_noise_ceiling_r, reliability
from voxelcast.scoring.correlation import pearson_r

rng = np.random.default_rng(0)
signal = rng.standard_normal((300, 100))
responses = signal[:, None, :] + 2 * rng.standard_normal((300, 10, 100))  # (stimuli, repetitions, voxels)
weak = 0.6 * signal + 0.8 * rng.standard_normal(signal.shape)  # a model that knows a part of the signal

repetitions = np.arange(2, 11)
found = [reliability(responses[:, :k]) for k in repetitions]
estimated = [mean_noise_ceiling_r(each.share, each.se) for each in found]
reached = [pearson_r(responses[:, :k].mean(axis=1), signal).mean() for k in repetitions]
weaker = [pearson_r(responses[:, :k].mean(axis=1), weak).mean() for k in repetitions]
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.plot(repetitions, np.sqrt(1 / (1 + 4 / repetitions)), color="grey", label="formula")
axes.plot(repetitions, estimated, "o", label="mean_noise_ceiling_r, from the responses alone")
axes.plot(repetitions, reached, "x", label="a model that knows the signal")
axes.plot(repetitions, weaker, "+", label="a model that knows a part of it")
axes.set(xlabel="repetitions averaged", ylabel="mean r", ylim=(0, 1))
axes.legend(fontsize="small")
figure.savefig("ceiling.png", dpi=120)
assert np.allclose(estimated, reached, atol=0.03)
