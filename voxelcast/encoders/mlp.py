"""A multilayer perceptron: one network with hidden layers that predicts all voxels at once.

::

    h_0 = (x - x_mean) / s,   h_i = relu(W_i h_(i-1) + b_i),   prediction = y_mean + y_sd * (W_L h_(L-1) + b_L)

All features are divided by one number s, the root of their mean variance, so that a small component stays small;
responses are standardised per voxel. The weights minimise the mean squared error by AdamW, whose weight decay acts on
the weights themselves and is not part of the gradient [1]_; biases are not decayed. A tenth of the training stimuli,
drawn by the seed, is set aside: training stops when the error on it has not fallen for some epochs, and the weights
of the best epoch are kept.

References
----------
.. [1] Loshchilov, I. & Hutter, F. Decoupled weight decay regularization. ICLR (2019). arXiv:1711.05101
.. [2] Srivastava, N. et al. Dropout: a simple way to prevent neural networks from overfitting. Journal of Machine
   Learning Research 15, 1929-1958 (2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import DataError
from voxelcast.core.seeds import derive_seed, generator
from voxelcast.encoders.base import RATE, Encoder
from voxelcast.encoders.moments import check_features
from voxelcast.encoders.params import Distribution, Params, ProblemSize
from voxelcast.encoders.registry import register_encoder

_SET_ASIDE = 0.1


@dataclass(frozen=True)
class MLPModel:
    """A fitted multilayer perceptron.

    Parameters
    ----------
    x_mean : ndarray of shape (p,)
    weights : tuple of ndarray of shape (n_out, n_in)
    biases : tuple of ndarray of shape (n_out,)
    y_mean, y_scale : ndarray of shape (q,)
    errors : ndarray of shape (n_epochs,)
        Mean squared error on the stimuli set aside, in units of the responses' variance, after each epoch.
    """

    params: Params
    x_mean: FloatArray
    x_scale: float
    weights: tuple[FloatArray, ...]
    biases: tuple[FloatArray, ...]
    y_mean: FloatArray
    y_scale: FloatArray
    errors: FloatArray

    def predict(self, X: FloatArray) -> FloatArray:
        """Predict responses, ndarray of shape (n_samples, q), from features of shape (n_samples, p)."""
        check_features(X, len(self.x_mean))
        hidden: FloatArray = (np.asarray(X, dtype=np.float64) - self.x_mean) / self.x_scale
        for W, b in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = np.maximum(hidden @ W.T + b, 0.0)
        return np.asarray(self.y_mean + self.y_scale * (hidden @ self.weights[-1].T + self.biases[-1]))

    def arrays(self) -> dict[str, FloatArray]:
        """Return weights, biases and scales."""
        layers = {f"weights_{k}": W for k, W in enumerate(self.weights)}
        layers |= {f"biases_{k}": b for k, b in enumerate(self.biases)}
        scales = {"x_mean": self.x_mean, "x_scale": np.array(self.x_scale), "y_mean": self.y_mean}
        return layers | scales | {"y_scale": self.y_scale}


@register_encoder
class MLP(Encoder):
    """A multilayer perceptron with one to three hidden layers, dropout, weight decay and early stopping."""

    name: ClassVar[str] = "mlp"
    unsaved: ClassVar[str] = ""

    def search_space(self, size: ProblemSize) -> dict[str, Distribution]:
        """Return the ranges of architecture and training."""
        return {
            "layers": Distribution(1, 3, integer=True),
            "width": Distribution(16, 512, integer=True, log=True),
            "learning_rate": Distribution(1e-4, 1e-2, log=True),
            "dropout": Distribution(0.0, 0.6),
            "weight_decay": Distribution(1e-4, 10.0, log=True),
        }

    def order(self, params: Params) -> tuple[float, ...]:
        """Sort the fewest and narrowest layers first, and of equal ones the strongest weight decay and dropout."""
        return (params["layers"], params["width"], -params["weight_decay"], -params["dropout"])

    def fit(self, X: FloatArray, Y: FloatArray, params: Params) -> MLPModel:
        """Fit one model; see `Encoder.fit`. Raises DataError if there are fewer than two stimuli as well."""
        X, Y = self._checked(X, Y, params)
        # Imported here: torch takes seconds to import, and only this encoder needs it.
        from voxelcast.encoders.perceptron import Architecture, train_perceptron

        x_mean, y_mean, y_scale = X.mean(axis=0), Y.mean(axis=0), Y.std(axis=0)
        x_scale = float(np.sqrt(X.var(axis=0).mean()))
        x_scale = x_scale if x_scale > 0 else 1.0
        y_scale[y_scale == 0] = 1.0
        aside, kept = set_aside(len(X), self.seed)
        hidden = (int(params["width"]),) * int(params["layers"])
        weights, biases, errors = train_perceptron(
            (X - x_mean) / x_scale,
            (Y - y_mean) / y_scale,
            kept,
            aside,
            Architecture(hidden, params["learning_rate"], params["dropout"], params["weight_decay"]),
            derive_seed(self.seed, "mlp"),
        )
        return MLPModel(params, x_mean, x_scale, weights, biases, y_mean, y_scale, errors)

    def fit_seconds(self, size: ProblemSize, rate: float = RATE) -> float:
        """Guess the seconds of one fit: some 60 epochs of 1 ms per step and 6 operations per weight and stimulus."""
        weights = 128 * (size.n_features + 128 + size.n_voxels)
        return 60 * (size.n_train / 64 * 1.5e-3 + 6 * size.n_train * weights / 1e10)


def set_aside(n: int, seed: int) -> tuple[IntArray, IntArray]:
    """Divide n stimuli into those that decide when to stop (a tenth, at least one) and those trained on."""
    if n < 2:
        raise DataError(f"early stopping needs at least 2 stimuli; got {n}; ask for fewer folds")
    order = generator(seed, "set aside").permutation(n)
    count = max(1, round(_SET_ASIDE * n))
    return np.sort(order[:count]), np.sort(order[count:])
