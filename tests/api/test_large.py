"""Fits of files against the same fit in memory, and the memory that they take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from voxelcast.api.large import fit_large, voxels_at_a_time
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, MissingFileError, OptionError, ShapeError, UnwritableError
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.registry import get_encoder
from voxelcast.search.base import GivenFeatures
from voxelcast.search.folds import make_folds
from voxelcast.search.pair import search_pair
from voxelcast.search.settings import PairSettings, SelectionSettings


@pytest.fixture
def arrays(monkeypatch: pytest.MonkeyPatch) -> tuple[FloatArray, FloatArray]:
    """Features of different sizes about a mean, responses of different noise; few rows are read at once."""
    monkeypatch.setattr("voxelcast.api.large._CHUNK", 8 * 12 * 37)
    monkeypatch.setattr("voxelcast.api.large._AROUND", 0)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 12)) * np.geomspace(3, 0.3, 12) + 5
    Y = X @ rng.standard_normal((12, 30)) * rng.random(30) + 8 * rng.standard_normal((200, 30)) - 3
    Y[:, 7] = 2.5
    return X, Y


def _written(folder: Path, X: FloatArray, Y: FloatArray) -> tuple[Path, Path]:
    np.save(folder / "X.npy", X)
    np.save(folder / "Y.npy", Y)
    return folder / "X.npy", folder / "Y.npy"


@pytest.mark.parametrize("encoder", ["ridge", "ols", "ridge_per_voxel"])
def test_gives_what_a_search_in_memory_gives(
    tmp_path: Path, arrays: tuple[FloatArray, FloatArray], encoder: str
) -> None:
    X, Y = arrays
    said: list[str] = []
    found = fit_large(*_written(tmp_path, X, Y), tmp_path / "out", memory=280e3, encoder=encoder, note=said.append)
    settings = PairSettings(selection=SelectionSettings("voxel"))
    space, fold_ids = GivenFeatures("given", "layer", X), make_folds(len(X), 5, 0)
    expected = search_pair(Y, [space], [get_encoder(encoder)], fold_ids, settings)
    np.testing.assert_allclose(found["score"], expected.voxel_scores, atol=1e-12)
    assert len(said) == -(-30 // found.attrs["voxels_at_a_time"]) >= 2
    models = np.load(tmp_path / "out/coefficients.npy"), np.load(tmp_path / "out/intercept.npy")
    space = GivenFeatures("given", "layer", np.concatenate([X, X[:5] + 1]))
    predicted = search_pair(Y, [space], [get_encoder(encoder)], fold_ids, settings).predictions
    np.testing.assert_allclose((X[:5] + 1) @ models[0] + models[1], predicted, rtol=1e-9, atol=1e-9)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["coefficients.npy", "intercept.npy"]


def test_single_precision_and_given_folds(tmp_path: Path, arrays: tuple[FloatArray, FloatArray]) -> None:
    X, Y = (array.astype(np.float32) for array in arrays)
    fold_ids = np.repeat([0, 1, 2, 3], 50)
    found = fit_large(*_written(tmp_path, X, Y), tmp_path / "out", memory=1e9, folds=fold_ids)
    settings = PairSettings(selection=SelectionSettings("voxel"))
    space = GivenFeatures("given", "layer", X.astype(np.float64))
    expected = search_pair(Y.astype(np.float64), [space], [get_encoder("ridge")], fold_ids, settings)
    np.testing.assert_allclose(found["score"], expected.voxel_scores, atol=1e-9)


@pytest.mark.slow
def test_a_full_disk(tmp_path: Path, arrays: tuple[FloatArray, FloatArray]) -> None:
    """A line says so; a process that writes to mapped memory without room would be killed."""
    disk, (X, Y) = tmp_path / "disk", arrays
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        with pytest.raises(UnwritableError, match="No space left"):
            fit_large(*_written(tmp_path, X, Y), disk / "out", memory=1e9)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_bad_input_is_refused(tmp_path: Path, arrays: tuple[FloatArray, FloatArray]) -> None:
    X, Y = arrays
    files, out = _written(tmp_path, X, Y), tmp_path / "out"
    with pytest.raises(MissingFileError, match=r"no\.npy"):
        fit_large(tmp_path / "no.npy", files[1], out, memory=1e9)
    with pytest.raises(OptionError, match=r"memory must be at least .* GB for 200 stimuli, 12 features and 5 folds"):
        fit_large(*files, out, memory=1e4)
    with pytest.raises(OptionError, match="encoder must be one of"):
        fit_large(*files, out, memory=1e9, encoder="pls")
    with pytest.raises(OptionError, match="output must not exist"):
        fit_large(*files, tmp_path, memory=1e9)
    assert not out.exists()
    np.save(files[1], Y[1:])
    with pytest.raises(ShapeError, match="responses"):
        fit_large(*files, out, memory=1e9)
    files[0].write_bytes(files[0].read_bytes()[:900])
    with pytest.raises(DataError, match=r"X.npy is no whole .npy file"):
        fit_large(*files, out, memory=1e9)
    X[3, 2] = np.nan
    with pytest.raises(DataError, match=r"features of stimuli \d+ to \d+"):
        fit_large(*_written(tmp_path, X, Y), out, memory=1e9)
    assert not out.exists()


_MEASURED = """
import sys
from pathlib import Path
from voxelcast.api.large import fit_large
from voxelcast.store.memory import peak_mb, reset_peak, resident_mb
import scipy.linalg, voxelcast.encoders.registry as registry
registry.list_encoders()
reset_peak()
before = resident_mb()
fit_large(sys.argv[1] + "/X.npy", sys.argv[1] + "/Y.npy", sys.argv[1] + "/out", memory=float(sys.argv[2]), folds=3)
print(peak_mb() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what was held at most")
def test_the_memory_that_is_stated_is_kept(tmp_path: Path) -> None:
    n, p, q, memory = 4000, 40, 4000, 100e6
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p))
    Y = np.lib.format.open_memmap(tmp_path / "Y.npy", "w+", np.float64, (n, q))
    for start in range(0, n, 400):
        Y[start : start + 400] = X[start : start + 400, :1] + rng.standard_normal((400, q))
    del Y
    np.save(tmp_path / "X.npy", X)
    assert voxels_at_a_time(ProblemSize(n, p, q), 3, 51, memory) < q / 10
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(tmp_path), str(memory)], capture_output=True, text=True, check=True
    )
    assert 5e6 < float(done.stdout) * 1e6 < memory < (tmp_path / "Y.npy").stat().st_size
