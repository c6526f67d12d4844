"""One fit of PLS gives every number of components; scikit-learn, a fit for each proposal, finds points on its curve."""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cross_decomposition import PLSRegression

from voxelcast.encoders.moments import moments
from voxelcast.encoders.pls import PLS
from voxelcast.scoring.correlation import pearson_r

rng = np.random.default_rng(0)
X = rng.standard_normal((300, 40)) * np.linspace(3, 0.3, 40)
Y = X @ rng.standard_normal((40, 30)) * 0.2 + 3 * rng.standard_normal((300, 30))
train, test = slice(0, 200), slice(200, 300)

grid = [{"n_components": k} for k in range(1, 41)]
path = PLS().path(moments(X[train], Y[train]), grid)  # one fit
centred = X[test] - X[train].mean(axis=0)
exact = [pearson_r(Y[test], centred @ path.coefficients(index)).mean() for index in range(40)]

asked = rng.choice(40, 8, replace=False) + 1
answers = []
for k in asked:  # one fit each
    model = PLSRegression(n_components=k, scale=False, tol=1e-14, max_iter=10_000).fit(X[train], Y[train])
    answers.append(pearson_r(Y[test], model.predict(X[test])).mean())

figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.plot(range(1, 41), exact, "-", label="one fit, every number of components")
axes.plot(asked, answers, "o", label="scikit-learn, a fit for each proposal")
axes.set(xlabel="PLS components", ylabel="mean r on other stimuli")
axes.legend(fontsize="small")
figure.savefig("path.png", dpi=120)
assert np.allclose(answers, np.array(exact)[asked - 1], atol=1e-6)
