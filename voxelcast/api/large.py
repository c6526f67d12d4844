"""Encoding models of features and responses that are larger than memory: both stay on disk and are read in blocks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from voxelcast.core.arrays import FloatArray, IntArray, blocks
from voxelcast.core.checks import check_finite, check_option, check_shape, home_expanded
from voxelcast.core.errors import DataError, MissingFileError, OptionError
from voxelcast.encoders.linear import LinearEncoder
from voxelcast.encoders.moments import Moments
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.registry import get_encoder
from voxelcast.scoring.correlation import cross_validated_r
from voxelcast.search.exact import exact_trials
from voxelcast.search.folds import given_folds, make_folds
from voxelcast.search.training import PairData, Training
from voxelcast.search.trials import Task
from voxelcast.store.atomic import reserve, said_unwritable

_CHUNK = 16 * 2**20  # bytes that are read at once
_AROUND = 2**17  # bytes that Linux may map around what is read of one row
_BY_VOXEL = ("ols", "ridge", "ridge_per_voxel")  # a model of one voxel does not depend on the others, as PLS' does


def fit_large(
    features: str | Path,
    responses: str | Path,
    output: str | Path,
    *,
    memory: float,
    encoder: str = "ridge",
    folds: int | IntArray = 5,
    seed: int = 0,
    note: Callable[[str], None] = lambda _: None,
) -> xr.Dataset:
    """Fit and score an encoding model of each voxel from files that need not fit into memory.

    Each voxel chooses its hyper-parameters by cross-validation and is scored by nested cross-validation, as in
    `voxelcast.evaluate` with ``selection.per`` voxel and features that are given as they are; the numbers are the same
    up to rounding. Moments are summed up block by block. Responses are read once, features once for each block of
    voxels, of which there are the fewer the more ``memory`` there is.

    Parameters
    ----------
    features : path
        ``.npy`` file of shape (n_stimuli, n_features), any float type, not compressed any further.
    responses : path
        ``.npy`` file of shape (n_stimuli, n_voxels), any float type and linear unit.
    output : path
        Folder, made here, for ``coefficients.npy`` (n_features, n_voxels) and ``intercept.npy`` (n_voxels,), float64:
        the models of all stimuli, prediction = features @ coefficients + intercept.
    memory : float
        Bytes that may be held beside Python and its libraries.
    encoder : str
        ridge, ridge_per_voxel or ols, whose models of a voxel do not depend on other voxels.
    folds : int or ndarray of shape (n_stimuli,)
        Their number, at least 3, or the fold of each stimulus.
    note : callable
        Is told, block by block, how far the work is.

    Returns
    -------
    scores : Dataset
        By ``voxel``: ``score``, r as of `voxelcast.evaluate`, and the hyper-parameters chosen on all folds.

    Raises
    ------
    MissingFileError, DataError, ShapeError
        If a file is not there, or values or shapes do not fit.
    OptionError
        If the output exists, the encoder is another one, or ``memory`` is too little even for one voxel at a time.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from voxelcast.api.large import fit_large
    >>> rng, folder = np.random.default_rng(0), Path(tempfile.mkdtemp())
    >>> X = rng.standard_normal((60, 4))
    >>> np.save(folder / "X.npy", X)
    >>> np.save(folder / "Y.npy", X @ rng.standard_normal((4, 3)) + rng.standard_normal((60, 3)))
    >>> found = fit_large(folder / "X.npy", folder / "Y.npy", folder / "models", memory=100e6)
    >>> bool((found["score"] > 0.5).all()), np.load(folder / "models" / "coefficients.npy").shape
    (True, (4, 3))
    """
    check_option("encoder", encoder, _BY_VOXEL)
    chosen, output = get_encoder(encoder), home_expanded(Path(output))
    assert isinstance(chosen, LinearEncoder)
    if output.exists():
        raise OptionError(f"output must not exist; {output} does; give another folder")
    X, Y = _Table(Path(features), "features"), _Table(Path(responses), "responses")
    check_shape("responses", Y.open(), ("n_stimuli", "n_voxels"), (X.shape[0], None))
    fold_ids = make_folds(len(X), folds, seed) if isinstance(folds, int) else given_folds(np.asarray(folds))
    n_folds = int(fold_ids.max()) + 1
    if n_folds < 3:
        raise OptionError(f"nested cross-validation needs at least 3 folds; got {n_folds}")
    size = ProblemSize(len(X), X.shape[1], Y.shape[1])
    n_params = len(chosen.param_grid(size))
    at_a_time = voxels_at_a_time(size, n_folds, n_params, memory)
    with said_unwritable(output):
        output.mkdir(parents=True)
        try:
            return _all_fitted(chosen, X, Y, fold_ids, output, at_a_time, note)
        except BaseException:
            shutil.rmtree(output)  # which was made here
            raise


def voxels_at_a_time(size: ProblemSize, n_folds: int, n_params: int, memory: float) -> int:
    """Return how many voxels `fit_large` takes together so that it holds no more than ``memory`` bytes.

    In numbers of 8 bytes, of n stimuli, p features, F folds of m stimuli, s params: (F + 8) p**2 + 3 m p and 64 MiB
    whatever the voxels, and 6 n + (2 F + 8) p + (2 F + 12) s + 8 m for each. Raises OptionError if that is more.
    """
    n, p, m = size.n_train, size.n_features, -(-size.n_train // n_folds)
    fixed = 8.0 * ((n_folds + 8) * p * p + 3 * m * p) + 4 * _CHUNK
    each = 8.0 * (6 * n + (2 * n_folds + 8) * p + (2 * n_folds + 12) * n_params + 8 * m)
    if fixed + each > memory:
        raise OptionError(
            f"memory must be at least {(fixed + each) / 1e9:.3g} GB for {n} stimuli, {p} features and {n_folds} folds; "
            f"got {memory / 1e9:.3g} GB; compress the features, or allow more"
        )
    return min(int((memory - fixed) / each), size.n_voxels)


def _all_fitted(
    encoder: LinearEncoder,
    X: _Table,
    Y: _Table,
    fold_ids: IntArray,
    output: Path,
    at_a_time: int,
    note: Callable[[str], None],
) -> xr.Dataset:
    """Fit blocks of voxels, one after the other."""
    n_folds, n_voxels = int(fold_ids.max()) + 1, Y.shape[1]
    sums = _FeatureSums(X, fold_ids, n_folds, output / "scratch")
    coefficients = _Written(output / "coefficients.npy", (X.shape[1], n_voxels))
    scores, intercept, params = np.empty(n_voxels), np.empty(n_voxels), list[dict[str, Any]]()
    for voxels in blocks(n_voxels, 1, at_a_time):
        data = PairData(Y.columns(voxels), fold_ids, n_folds)
        scores[voxels], picked, model = _fitted(encoder, _StreamedTraining(sums, data))
        coefficients.columns(voxels, model.coefficients)
        intercept[voxels] = model.intercept
        params += picked
        note(f"{voxels.stop} of {n_voxels} voxels")
    np.save(output / "intercept.npy", intercept)
    shutil.rmtree(output / "scratch")
    names = {name: ("voxel", np.array([one[name] for one in params])) for name in params[0]}
    attrs = {"encoder": encoder.name, "voxels_at_a_time": at_a_time}
    return xr.Dataset({"score": ("voxel", scores), **names}, attrs=attrs)


def _fitted(encoder: LinearEncoder, training: _StreamedTraining) -> tuple[FloatArray, list[dict[str, Any]], Any]:
    """Return each voxel's nested score, and its params and model of all stimuli."""
    data = training.data
    task = Task(data, nested=True, voxel_rule="best")
    predictions = np.empty_like(data.Y)
    picked: list[dict[str, Any]] = []
    model: Any = None
    for outer, tried in exact_trials(encoder, training, task):
        assert tried.voxels is not None
        excluded = () if outer is None else (outer,)
        (fitted,) = encoder.fit_members(training, [(tried.params_list, tried.voxels.pick)], excluded)
        if outer is None:
            model, picked = fitted, [dict(tried.params_list[k]) for k in tried.voxels.pick]
        else:
            predictions[data.rows[outer]] = fitted.predict(training.features((outer,), outer))
    return cross_validated_r(data.Y, predictions, data.fold_ids), picked, model


class _Table:
    """An array in a ``.npy`` file, which is opened anew for each block, so that what was read does not stay here."""

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what = home_expanded(path), what
        if not self._path.is_file():
            raise MissingFileError(f"{what} must be a .npy file; there is no {self._path}")
        opened = self.open()
        check_shape(what, opened, ("n_stimuli", "n"), (None, None))
        if opened.dtype.kind != "f" or 0 in opened.shape:
            raise DataError(f"{what} must be numbers of a float type; got {opened.dtype} of shape {opened.shape}")
        self.shape: tuple[int, int] = opened.shape

    def __len__(self) -> int:
        return self.shape[0]

    def open(self) -> FloatArray:
        """Map the file."""
        try:
            found: FloatArray = np.load(self._path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise DataError(f"{self._what} {self._path} is no whole .npy file ({error}); write it anew") from error
        return found

    def chunks(self) -> Iterator[tuple[slice, FloatArray]]:
        """Give all rows, some at a time, in float64."""
        for rows in blocks(len(self), 8 * self.shape[1], _CHUNK):
            yield rows, self._read(rows, slice(None))

    def columns(self, columns: slice) -> FloatArray:
        """Read some columns in float64, ndarray of shape (n_stimuli, k)."""
        found = np.empty((len(self), columns.stop - columns.start))
        for rows in blocks(len(self), 8 * found.shape[1] + _AROUND, _CHUNK):
            found[rows] = self._read(rows, columns)
        return found

    def rows(self, wanted: IntArray) -> FloatArray:
        """Read rows of ascending index in float64."""
        found = np.empty((len(wanted), self.shape[1]))
        for rows in blocks(len(self), 8 * self.shape[1], _CHUNK):
            first, last = np.searchsorted(wanted, (rows.start, rows.stop))
            if last > first:
                found[first:last] = self.open()[wanted[first:last]]
        return found

    def _read(self, rows: slice, columns: slice) -> FloatArray:
        values = np.array(self.open()[rows, columns], dtype=np.float64)
        check_finite(f"{self._what} of stimuli {rows.start} to {rows.stop - 1}", values)
        return values


class _Written:
    """An array in a ``.npy`` file that is written some columns at a time."""

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self._path = path
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
            reserve(file, file.tell() + 8 * shape[0] * shape[1])

    def columns(self, columns: slice, values: FloatArray) -> None:
        """Write columns; what was written does not stay in memory."""
        for rows in blocks(len(values), 8 * values.shape[1] + _AROUND, _CHUNK):
            np.load(self._path, mmap_mode="r+")[rows, columns] = values[rows]


class _FeatureSums:
    """Sums of features over folds, about the mean of all: what all voxels share, eigenvectors included."""

    def __init__(self, X: _Table, fold_ids: IntArray, n_folds: int, scratch: Path) -> None:
        self.X, self.fold_ids, self._scratch = X, fold_ids, scratch
        scratch.mkdir()
        p = X.shape[1]
        self.x_mean = np.zeros(p)
        for _, part in X.chunks():
            self.x_mean += part.sum(axis=0) / len(X)
        self.sums, self.squares = np.zeros((n_folds, p)), np.zeros((n_folds, p, p))
        for rows, part in X.chunks():
            part -= self.x_mean
            for fold in np.unique(fold_ids[rows]):
                own = part[fold_ids[rows] == fold]
                self.sums[fold] += own.sum(axis=0)
                self.squares[fold] += own.T @ own
        self.S = self.squares.sum(axis=0)

    def eigen(self, excluded: tuple[int, ...], S: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the eigenvalues and eigenvectors of S without some folds, which are computed once."""
        path = self._scratch / f"eigen-{'-'.join(map(str, excluded))}.npz"
        if not path.is_file():
            values, vectors = np.linalg.eigh(S)
            np.savez(path, values=values.clip(min=0.0), vectors=vectors)
        with np.load(path, allow_pickle=False) as found:
            return found["values"], found["vectors"]


@dataclass(frozen=True)
class _SharedMoments(Moments):
    """Moments whose eigenvectors are those of other voxels, too, as long as S is ``own``."""

    own: FloatArray | None = None
    look_up: Callable[[], tuple[FloatArray, FloatArray]] | None = None

    @cached_property
    def eigen(self) -> tuple[FloatArray, FloatArray]:
        """Look them up."""
        if self.look_up is not None and self.S is self.own:
            return self.look_up()
        values, vectors = np.linalg.eigh(self.S)
        return values.clip(min=0.0), vectors


class _StreamedTraining(Training):
    """Moments of features on disk and the responses of some voxels; each is asked for once, and none is kept."""

    most_bytes = 0

    def __init__(self, features: _FeatureSums, data: PairData) -> None:
        super().__init__(data, features.X.shape[1])
        self._from = features
        self._products = np.zeros((data.n_folds, self.n_features, data.Y.shape[1]))
        for rows, part in features.X.chunks():
            part -= features.x_mean
            for fold in np.unique(data.fold_ids[rows]):
                own = data.fold_ids[rows] == fold
                self._products[fold] += part[own].T @ data.Yc[rows][own]

    def _moments(self, excluded: tuple[int, ...]) -> Moments:
        """Leave the folds out of the sums; what remains is about the mean of all, and is brought to its own."""
        data, given, folds = self.data, self._from, list(excluded)
        n, x_sum = data.size(excluded), given.sums[folds].sum(axis=0)
        S = given.S - given.squares[folds].sum(axis=0) - np.outer(x_sum, x_sum) / n
        kept = [fold for fold in range(data.n_folds) if fold not in excluded]
        C = np.zeros(self._products.shape[1:])
        for fold in kept:
            C += self._products[fold]
        C -= np.outer(x_sum, data.fold_sums[folds].sum(axis=0)) / n
        plain = data.moments(excluded, given.x_mean - x_sum / n, S, C)
        shown = {field.name: getattr(plain, field.name) for field in fields(plain)}
        return _SharedMoments(**shown, own=S, look_up=lambda: given.eigen(excluded, S))

    def all_features(self, excluded: tuple[int, ...]) -> FloatArray:
        return self._from.X.rows(np.arange(self.data.n_train))

    def features(self, excluded: tuple[int, ...], fold: int) -> FloatArray:
        """Read the features of a fold."""
        return self._from.X.rows(self.data.rows[fold])
