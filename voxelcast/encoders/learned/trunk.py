"""A trunk: one model of many subjects' responses, whose outputs are features that every encoder can be fitted to.

Stimulus x has the features x_b in stream b (a layer, a modality), centred on their training means and divided by the
root of their mean variance. A hidden representation h is shared by all subjects; subject s has a head, W_s::

    linear    h = sum_b A_b x_b             A, W: the ridge solution of all voxels together, of reduced rank [1]_
    mlp       h = relu(sum_b A_b x_b + a)
    temporal  h(t) = sum_b sum_k K_b(k) * (A_b x_b(t - k))        a kernel over time of each hidden unit and stream
    response of subject s:  W_s h + c_s,    W_s = W + V_s         W, a shared head, and a low rank of V_s are options

Responses are in units of each voxel's training standard deviation. The linear trunk has a closed form, its penalty
chosen by generalised cross-validation over all voxels; the others are trained by AdamW on the mean squared error
(`voxelcast.encoders.learned.trunk_training`).

Outputs are the principal components of all subjects' predicted responses over the training stimuli: whatever basis h
came out in, they are ordered and measured by what they do in the responses. A ridge regression on them shrinks most
what few voxels of any subject follow. Heads are then estimated again by the encoders of the experiment, inside the
folds; a subject that the trunk never saw gets a head in the same way, or is predicted by the shared head alone.

References
----------
.. [1] Mukherjee, A. & Zhu, J. Reduced rank ridge regression and its kernel extensions. Statistical Analysis and Data
   Mining 4, 612-622 (2011). doi:10.1002/sam.10138
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.encoders.learned.trunk_settings import EPOCHS, TrunkSettings
from voxelcast.encoders.moments import mean_squared_norm

_PENALTIES = np.geomspace(1e-6, 1e6, 49)
"""Of the linear trunk, in units of the mean eigenvalue."""


@dataclass(frozen=True)
class Streams:
    """Features of several streams, and where each stimulus lies in time.

    Parameters
    ----------
    features : tuple of ndarray of shape (n_stimuli, p_b)
    series : ndarray of shape (n_stimuli, 2), int, optional
        Run of each volume, and its position in the run; None: every stimulus is by itself.
    """

    features: tuple[FloatArray, ...]
    series: IntArray | None = None

    def __post_init__(self) -> None:
        for X in self.features:
            check_shape("features of each stream", X, ("n_stimuli", "p"), (len(self.features[0]), None))
            check_finite("features of each stream", X)

    def runs(self) -> Iterator[tuple[IntArray, IntArray]]:
        """Yield the rows of each run and their positions, from 0 for the first of them."""
        assert self.series is not None
        for run in np.unique(self.series[:, 0]):
            rows = np.flatnonzero(self.series[:, 0] == run)
            yield rows, self.series[rows, 1] - self.series[rows, 1].min()


@dataclass(frozen=True)
class Trunk:
    """A trained trunk; streams b, hidden units d, all subjects' voxels side by side q.

    Parameters
    ----------
    means : tuple of ndarray of shape (p_b,)
    maps : tuple of ndarray of shape (p_b, d)
        The scale of the stream included.
    kernels : tuple of ndarray of shape (d, k)
        By delay, from the most negative; empty unless temporal.
    causal : bool
    bias : ndarray of shape (d,), or (0,) where hidden units are linear
    head : ndarray of shape (d, q)
    intercept : ndarray of shape (q,)
    shared : ndarray of shape (d, q_s), or (d, 0) without a shared head
        In units of each voxel's standard deviation, around its mean.
    outputs : ndarray of shape (d, c)
        From hidden units to principal components.
    centre : ndarray of shape (d,)
    errors : ndarray of shape (n_epochs,)
        Mean squared error of training, or on the stimuli set aside where training stops by itself, in units of the
        responses' variance.
    """

    means: tuple[FloatArray, ...]
    maps: tuple[FloatArray, ...]
    kernels: tuple[FloatArray, ...]
    causal: bool
    bias: FloatArray
    head: FloatArray
    intercept: FloatArray
    shared: FloatArray
    outputs: FloatArray
    centre: FloatArray
    errors: FloatArray

    def features(self, streams: Streams) -> FloatArray:
        """Return the outputs, ndarray of shape (n_stimuli, c), largest variance first."""
        return np.asarray((self.hidden(streams) - self.centre) @ self.outputs)

    def predict(self, streams: Streams) -> FloatArray:
        """Predict by the trunk's own heads, ndarray of shape (n_stimuli, q), in the units of the responses."""
        return np.asarray(self.hidden(streams) @ self.head + self.intercept)

    def predict_unseen(self, streams: Streams) -> FloatArray:
        """Predict a subject of whom no response is known by the shared head, in standard deviations around the mean.

        Raises OptionError if there is none.
        """
        if not self.shared.shape[1]:
            raise OptionError("a subject without responses is predicted by the shared head; got none: set shared_head")
        return np.asarray((self.hidden(streams) - self.centre) @ self.shared)

    def hidden(self, streams: Streams) -> FloatArray:
        """Return the hidden units, ndarray of shape (n_stimuli, d)."""
        if len(streams.features) != len(self.maps):
            raise ShapeError(f"the trunk reads {len(self.maps)} streams; got {len(streams.features)}")
        total: FloatArray = np.zeros((len(streams.features[0]), self.head.shape[0]))
        for number, X in enumerate(streams.features):
            check_shape("features of each stream", X, ("n_stimuli", "p"), (None, len(self.means[number])))
            Z = (np.asarray(X, dtype=np.float64) - self.means[number]) @ self.maps[number]
            total += self._over_time(Z, self.kernels[number], streams) if self.kernels else Z
        return np.maximum(total + self.bias, 0.0) if self.bias.size else total

    def _over_time(self, Z: FloatArray, kernel: FloatArray, streams: Streams) -> FloatArray:
        """Convolve (n_stimuli, d) with a kernel (d, k) inside each run; there is 0 before and after it, and in gaps."""
        if streams.series is None:
            raise OptionError("a temporal trunk needs runs and positions of the volumes; got none; give series")
        k, found = kernel.shape[1], np.empty_like(Z)
        ahead = 0 if self.causal else k // 2
        for rows, at in streams.runs():
            length = int(at.max()) + 1
            padded = np.zeros((length + k - 1, Z.shape[1]))
            padded[k - 1 - ahead + at] = Z[rows]
            run = sum(padded[k - 1 - j : k - 1 - j + length] * kernel[:, j] for j in range(k))
            found[rows] = np.asarray(run)[at]
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name; `rebuild` makes the trunk of them again."""
        lists = {"means": self.means, "maps": self.maps, "kernels": self.kernels}
        numbered = {f"{name}_{k}": array for name, arrays in lists.items() for k, array in enumerate(arrays)}
        names = ("bias", "head", "intercept", "shared", "outputs", "centre", "errors")
        return numbered | {name: getattr(self, name) for name in names} | {"causal": np.array(self.causal)}


def rebuild(arrays: Mapping[str, NDArray[Any]]) -> Trunk:
    """Make a trunk of its arrays."""

    def numbered(name: str) -> tuple[FloatArray, ...]:
        return tuple(arrays[f"{name}_{k}"] for k in range(sum(one.startswith(f"{name}_") for one in arrays)))

    names = ("bias", "head", "intercept", "shared", "outputs", "centre", "errors")
    others = {name: arrays[name] for name in names}
    causal = bool(arrays["causal"])
    return Trunk(numbered("means"), numbered("maps"), numbered("kernels"), causal, **others)


def train_trunk(
    streams: Streams,
    rows: IntArray,
    responses: Sequence[FloatArray],
    settings: TrunkSettings,
    *,
    seed: int = 0,
    device: str = "cpu",
    scratch: Path | None = None,
) -> Trunk:
    """Train a trunk on the responses of all subjects to some of the stimuli.

    Raises ShapeError or DataError if responses do not go with the stimuli or are not finite, OptionError if the kind
    of trunk does not go with them.

    Parameters
    ----------
    streams : Streams
        Of all stimuli: a kernel reaches volumes of the run that are not trained on.
    rows : ndarray of shape (n_train,), int
        The stimuli trained on.
    responses : sequence of ndarray of shape (n_train, q_s)
        Of each subject.
    scratch : Path, optional
        Folder for the state after each epoch: a training that was killed goes on from there, to the same bits.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 5))
    >>> Ys = [X[:50, :2] @ rng.standard_normal((2, 8)) + rng.standard_normal((50, 8)) for _ in range(4)]
    >>> trunk = train_trunk(Streams((X,)), np.arange(50), Ys, TrunkSettings("linear", width=2))
    >>> trunk.features(Streams((X,))).shape
    (60, 2)
    """
    for Y in responses:
        check_shape("responses of each subject", Y, ("n_train", "n_voxels"), (len(rows), None))
        check_finite("responses of each subject", Y, "leave out those voxels or stimuli")
    if len(rows) < 2:
        raise DataError(f"a trunk needs at least 2 training stimuli; got {len(rows)}; ask for fewer folds")
    widths = [Y.shape[1] for Y in responses]
    if settings.shared_head and len(set(widths)) > 1:
        raise OptionError(
            f"shared_head needs the same voxels in every subject; got {', '.join(map(str, widths))}; "
            "set shared_head=false"
        )
    if (settings.kind == "temporal") != (streams.series is not None):
        raise OptionError(f"kind temporal is for time series, and linear and mlp for others; got {settings.kind}")
    Y = np.concatenate([np.asarray(one, dtype=np.float64) for one in responses], axis=1)
    y_mean, y_scale = Y.mean(axis=0), Y.std(axis=0)
    y_scale[y_scale == 0] = 1.0
    means = tuple(np.asarray(X[rows], dtype=np.float64).mean(axis=0) for X in streams.features)
    scaled, scales = _scaled(streams, rows, means)
    Z = (Y - y_mean) / y_scale
    if settings.kind == "linear":
        parts = _linear(scaled, rows, Z, settings.width)
    else:
        # Imported here: torch takes seconds to import.
        from voxelcast.encoders.learned.trunk_training import train_network

        parts = train_network(scaled, rows, Z, widths, settings, seed=seed, where=(device, scratch))
    trunk = replace(
        parts,
        means=means,
        maps=tuple(A / scale for A, scale in zip(parts.maps, scales, strict=True)),
    )
    trunk = _with_outputs(trunk, trunk.hidden(streams)[rows])
    return replace(trunk, head=trunk.head * y_scale, intercept=y_mean + y_scale * trunk.intercept)


def _scaled(streams: Streams, rows: IntArray, means: Sequence[FloatArray]) -> tuple[Streams, list[float]]:
    """Centre each stream and divide it by the root of its features' mean variance over the training stimuli."""
    scaled, scales = [], []
    for X, mean in zip(streams.features, means, strict=True):
        centred = np.asarray(X, dtype=np.float64) - mean
        scales.append(float(np.sqrt(mean_squared_norm(centred[rows]) / X.shape[1])))
        scaled.append(centred / scales[-1])
    return Streams(tuple(scaled), streams.series), scales


def _linear(streams: Streams, rows: IntArray, Z: FloatArray, width: int) -> Trunk:
    """Solve the reduced-rank ridge regression of all voxels on all streams side by side.

    With X = U diag(s) V' and the penalty a, predictions are U diag(s^2 / (s^2 + a)) U'Z; their first principal
    components are the best of their rank.
    """
    X = np.concatenate([stream[rows] / np.sqrt(stream.shape[1]) for stream in streams.features], axis=1)
    n, (U, s, Vt) = len(X), np.linalg.svd(X, full_matrices=False)
    kept = s > len(X) * np.finfo(np.float64).eps * s.max(initial=0.0)
    U, s, Vt = U[:, kept], s[kept], Vt[kept]
    loadings = U.T @ Z
    squares, total = np.square(loadings).sum(axis=1), float(np.square(Z).sum())
    penalties = _PENALTIES * (np.square(s).mean() if s.size else 1.0)
    left = penalties[:, None] / (np.square(s) + penalties[:, None])  # what each penalty leaves of each direction
    freedom = (n - 1 - len(s) + left.sum(axis=1)) / n
    residual = total - squares.sum() + np.square(left) @ squares
    # Where next to no freedom is left, the smallest penalties would divide nothing by nothing.
    gcv = np.where(freedom > 1e-3, residual / np.square(np.maximum(freedom, 1e-3)), np.inf)
    shrunk = (1.0 - left[int(gcv.argmin())])[:, None] * loadings
    E, size, Ft = np.linalg.svd(shrunk, full_matrices=False)
    k = min(width, len(size))
    A = (Vt.T / s) @ E[:, :k] * size[:k]
    sizes = np.cumsum([stream.shape[1] for stream in streams.features])[:-1]
    maps = [part / np.sqrt(len(part)) for part in np.split(A, sizes)]
    errors = np.array([float(np.square(Z - U @ shrunk).mean())])
    empty = np.zeros(0)
    return Trunk((), tuple(maps), (), False, empty, Ft[:k], np.zeros(Z.shape[1]), np.zeros((k, 0)), A, empty, errors)


def _with_outputs(trunk: Trunk, hidden: FloatArray) -> Trunk:
    """Turn hidden units, (n_train, d), into the principal components of what the heads predict.

    Those of hW have the Gram matrix of h(WW')^(1/2), which is as wide as h.
    """
    values, vectors = np.linalg.eigh(trunk.head @ trunk.head.T)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    centre = hidden.mean(axis=0)
    centred = (hidden - centre) @ root
    _, turn = np.linalg.eigh(centred.T @ centred)
    return replace(trunk, centre=centre, outputs=root @ turn[:, ::-1])


def trunk_operations(settings: TrunkSettings, n_train: int, n_features: int, n_voxels: int) -> float:
    """Estimate the floating-point operations of one training; ``n_features`` of all streams, ``n_voxels`` of all."""
    if settings.kind == "linear":
        least = min(n_train, n_features)
        return 10.0 * n_train * n_features * least + 6.0 * n_train * least * n_voxels
    d, kernel = settings.width, settings.kernel
    head = 6.0 * d * n_voxels
    if settings.kind == "mlp":
        return (settings.epochs or 60) * n_train * (6.0 * n_features * d + head)
    of_window = (settings.window + kernel - 1) * (6.0 * n_features * d + 300.0 * d) + settings.window * head
    return (settings.epochs or EPOCHS) * settings.windows * of_window
