"""Selection on pure noise: the best score rises with the number of layers tried, the nested score stays at zero."""

import matplotlib.pyplot as plt
import numpy as np

from voxelcast.encoders.ridge import Ridge
from voxelcast.scoring.correlation import pearson_r

rng = np.random.default_rng(1)
n, n_folds, n_layers, n_draws = 60, 5, 24, 40
folds = np.arange(n) % n_folds


def r(X, Y, train, test):
    """Fit ridge to one part and return the mean r of the other."""
    model = Ridge().fit(X[train], Y[train], {"relative_alpha": 1.0})
    return pearson_r(Y[test], model.predict(X[test])).mean()


counts = [1, 2, 4, 8, 16, 24]
selected, nested = np.zeros((2, n_draws, len(counts)))
for draw in range(n_draws):
    Y = rng.standard_normal((n, 5))  # no layer has anything to do with it
    layers = rng.standard_normal((n_layers, n, 5))
    outer = np.array([[r(X, Y, folds != k, folds == k) for k in range(n_folds)] for X in layers])
    inner = np.zeros((n_layers, n_folds))  # of each outer fold, without ever seeing it
    for number, X in enumerate(layers):
        for k in range(n_folds):
            others = [j for j in range(n_folds) if j != k]
            inner[number, k] = np.mean([r(X, Y, ~np.isin(folds, [j, k]), folds == j) for j in others])
    for index, count in enumerate(counts):
        selected[draw, index] = outer[:count].mean(axis=1).max()
        chosen = inner[:count].argmax(axis=0)
        nested[draw, index] = outer[chosen, np.arange(n_folds)].mean()

figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
for values, name in ((selected, "selection_score: best of those tried"), (nested, "score: nested")):
    error = values.std(axis=0) / np.sqrt(n_draws)
    axes.errorbar(counts, values.mean(axis=0), error, marker="o", capsize=3, label=name)
axes.axhline(0, color="grey", linewidth=0.8)
axes.set(xlabel="layers tried", ylabel="mean r; the truth is 0")
axes.legend()
figure.savefig("nested.png", dpi=120)
assert selected[:, -1].mean() > 0.1
assert abs(nested.mean()) < 0.05
