"""Leakage: responses follow the movie, and nothing else; no feature predicts them in a new movie."""

import matplotlib.pyplot as plt
import numpy as np

from voxelcast.encoders.ridge import Ridge
from voxelcast.scoring.correlation import pearson_r
from voxelcast.search.folds import make_folds

rng = np.random.default_rng(0)
movie = np.repeat(np.arange(40), 5)  # 40 movies of 5 clips
X = rng.standard_normal((40, 60))[movie] + 0.5 * rng.standard_normal((200, 60))
Y = rng.standard_normal((40, 50))[movie] + rng.standard_normal((200, 50))


def score(folds):
    """Return r of each voxel, predicted out of fold."""
    predictions = np.empty_like(Y)
    for fold in np.unique(folds):
        train = folds != fold
        predictions[~train] = Ridge().fit(X[train], Y[train], {"relative_alpha": 1.0}).predict(X[~train])
    return pearson_r(Y, predictions)


scores = {
    "clips in any fold": score(make_folds(200, 5)),
    "movies kept whole": score(make_folds(200, 5, groups=[str(number) for number in movie])),
}
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.boxplot(list(scores.values()), tick_labels=list(scores))
axes.axhline(0, color="grey", linewidth=0.8)
axes.set_ylabel("r of 50 voxels")
figure.savefig("leakage.png", dpi=120)
assert scores["clips in any fold"].mean() > 0.3
assert abs(scores["movies kept whole"].mean()) < 0.1
