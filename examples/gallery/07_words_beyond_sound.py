"""
What do words explain beyond the sound of a story?
==================================================

Loudness and the rate of words rise and fall together, so a score of either alone says little. Both pass through the
haemodynamic response; folds are runs, which keep neighbouring volumes together. The ROI hears the sound alone, or
follows the words as well.
"""

import matplotlib.pyplot as plt
import numpy as np

import voxelcast as vc
from voxelcast.features.hrf import response_to_events

rng = np.random.default_rng(0)
runs, volumes, tr = 8, 60, 2.0
sound, words = [], []
for _ in range(runs):
    talk = np.convolve(rng.standard_normal(volumes), np.ones(4) / 2, "same")  # what both have in common
    events = talk[:, None] + 1.5 * rng.standard_normal((volumes, 2))  # loudness and words of each volume
    onsets = tr * np.arange(volumes)
    bold = response_to_events(onsets, np.full(volumes, tr), events, (volumes, tr), "double_gamma")
    sound.append(bold[:, :1])
    words.append(bold[:, 1:])
groups = {"sound": np.concatenate(sound), "words": np.concatenate(words)}
groups = {name: stream / stream.std() for name, stream in groups.items()}
noise = rng.standard_normal((2, runs * volumes, 20))
rois = {"auditory": groups["sound"] + noise[0], "language": groups["sound"] + groups["words"] + noise[1]}

in_run = np.repeat([f"run-{run}" for run in range(runs)], volumes)
streams = {name: vc.FeatureSpace(stream, compression=None) for name, stream in groups.items()}
adds = {}
figure, axes = plt.subplots(figsize=(5, 2.8), layout="constrained")
for y, (roi, responses) in enumerate(rois.items()):
    parts = vc.variance_partitioning(streams, responses, folds=4, stimulus_groups=in_run, draws=0)
    for part, colour, shift in (("model words", "lightgrey", 0.12), ("unique words", "C0", -0.12)):
        one = parts.sel(part=part)
        axes.plot([one.mean_low, one.mean_high], [y + shift] * 2, color=colour, linewidth=3)
        axes.plot(one["mean"], y + shift, "o", color=colour, label=None if y else part.replace("model", "R² of"))
        adds[roi, part] = float(one["mean"])
axes.axvline(0, color="grey", linewidth=0.8)
axes.set_yticks(range(len(rois)), rois)
axes.set(xlabel="R²", ylim=(-0.5, 1.5))
axes.legend()
assert adds["auditory", "model words"] > 0.1 > 0.01 > adds["auditory", "unique words"]
assert adds["language", "unique words"] > 0.08
