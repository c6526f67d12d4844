"""
How many repetitions and stimuli would I need?
==============================================

The same scanning time buys many stimuli shown once, or few shown often. A simulation with the noise that you expect
(here 2, signal 1) tells which gives the better model; judged are always the same 200 new stimuli, without noise.
"""

import matplotlib.pyplot as plt
import numpy as np

import voxelcast as vc
from voxelcast.testing.planted import planted_responses

rng = np.random.default_rng(0)
features = rng.standard_normal((1000, 60))
signal = planted_responses(features, noise=0, components=40)
test = slice(800, 1000)

figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
reached = {}
for repetitions in (1, 2, 4):
    trials = [100, 200, 400, 800]
    for n_trials in trials:
        train = slice(0, n_trials // repetitions)
        noise = rng.standard_normal((train.stop, repetitions, 30)).mean(axis=1)
        model = vc.EncodingModel("ridge").fit(features[train], signal[train] + 2 * noise)
        predicted = model.predict(features[test])
        r = [np.corrcoef(*pair)[0, 1] for pair in zip(predicted.T, signal[test].T, strict=True)]
        reached[repetitions, n_trials] = np.mean(r)
    axes.plot(trials, [reached[repetitions, n] for n in trials], "o-", label=f"{repetitions} x each stimulus")
axes.set(xlabel="presentations in all", ylabel="r with the true response", ylim=(0, 1), xscale="log")
axes.set_xticks(trials, trials)
axes.minorticks_off()
axes.legend()
assert reached[1, 200] > reached[2, 200] > reached[4, 200]  # many stimuli rather than many repetitions
