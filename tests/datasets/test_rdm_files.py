"""Files of measured RDMs, written by NumPy and SciPy and read back; what is refused and why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image
from scipy.spatial.distance import pdist, squareform

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import AlignmentError, DataError, MissingFileError, ShapeError, UnsafeFileError
from voxelcast.datasets.readers.rdm_files import read_rdms, unpack_images

IDS = ["a", "b", "c", "d"]


def _squares(n_rdms: int) -> FloatArray:
    rng = np.random.default_rng(0)
    return np.stack([squareform(pdist(rng.standard_normal((4, 9)))) for _ in range(n_rdms)])


def _structs(values: FloatArray) -> np.ndarray:
    structs = np.empty((1, *values.shape[:-2]), dtype=[("RDM", object), ("name", object)])
    for place in np.ndindex(values.shape[:-2]):
        structs[(0, *place)] = (values[place], f"subject {place}")
    return structs


def test_arrays_are_read_and_put_in_order(tmp_path: Path) -> None:
    squares = _squares(3)
    expected = [squareform(square) for square in squares]
    np.save(tmp_path / "rdms.npy", squares)
    np.testing.assert_allclose(read_rdms(tmp_path / "rdms.npy", IDS), expected)
    order = [2, 0, 3, 1]
    np.savez(tmp_path / "r.npz", rdms=squares[:, order][:, :, order], stimulus_id=[IDS[k] for k in order])
    np.testing.assert_allclose(read_rdms(tmp_path / "r.npz", IDS), expected)
    with pytest.raises(AlignmentError, match="only in the stimuli: e"):
        read_rdms(tmp_path / "r.npz", [*IDS[:3], "e"])


def test_sessions_of_matlab_structs_are_averaged(tmp_path: Path) -> None:
    squares = _squares(6)
    scipy.io.savemat(tmp_path / "one.mat", {"other": 1, "RDMs": _structs(squares)})
    np.testing.assert_allclose(read_rdms(tmp_path / "one.mat", IDS), [squareform(s) for s in squares])
    scipy.io.savemat(tmp_path / "two.mat", {"RDMs": _structs(squares.reshape(3, 2, 4, 4))})
    expected = [squareform(s) for s in squares.reshape(3, 2, 4, 4).mean(axis=1)]
    np.testing.assert_allclose(read_rdms(tmp_path / "two.mat", IDS), expected)


def test_real_rdms_are_those_of_the_paper(real_data: Path) -> None:
    ids = [f"{k:03d}" for k in range(92)]
    rdms = read_rdms(real_data / "rdm92" / "92_brainRDMs.mat", ids)
    assert rdms.shape == (4, 4186)
    published = scipy.io.loadmat(real_data / "rdm92" / "Kriegeskorte_Neuron2008_supplementalData.mat")
    human = published["RDMs_mIT_hIT_fig1"][0, 1]["RDM"].ravel()
    np.testing.assert_allclose(rdms.mean(axis=0), human, rtol=1e-5)


def test_pictures_are_unpacked(tmp_path: Path) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (3, 6, 7, 3), dtype=np.uint8)
    structs = np.empty((1, 3), dtype=[("image", object)])
    for k in range(3):
        structs[0, k] = (pictures[k],)
    scipy.io.savemat(tmp_path / "p.mat", {"stimuli": structs})
    assert unpack_images(tmp_path / "p.mat", tmp_path / "out") == 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000.png", "001.png", "002.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "001.png")), pictures[1])
    structs[0, 1] = (pictures[1].astype(float),)
    scipy.io.savemat(tmp_path / "p.mat", {"stimuli": structs})
    with pytest.raises(DataError, match=r"picture 1 .*got \(6, 7, 3\) and float64"):
        unpack_images(tmp_path / "p.mat", tmp_path / "out")


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        read_rdms(tmp_path / "none.npy", IDS)
    (tmp_path / "text.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"\.npy, \.npz, \.mat"):
        read_rdms(tmp_path / "text.csv", IDS)
    np.save(tmp_path / "rdms.npy", _squares(2))
    with pytest.raises(ShapeError, match=r"\(n_subjects, 3, 3\); got \(2, 4, 4\)"):
        read_rdms(tmp_path / "rdms.npy", IDS[:3])
    uneven = _squares(1)
    uneven[0, 0, 1] += 1
    np.save(tmp_path / "uneven.npy", uneven)
    with pytest.raises(DataError, match="symmetric"):
        read_rdms(tmp_path / "uneven.npy", IDS)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    with pytest.raises(UnsafeFileError, match="holds Python objects"):
        read_rdms(tmp_path / "objects.npy", IDS)
    np.savez(tmp_path / "names.npz", rdms=_squares(1))
    with pytest.raises(DataError, match="must hold 'rdms' and 'stimulus_id'"):
        read_rdms(tmp_path / "names.npz", IDS)
    scipy.io.savemat(tmp_path / "empty.mat", {"x": 1})
    with pytest.raises(DataError, match="field 'RDM'; got x"):
        read_rdms(tmp_path / "empty.mat", IDS)
    (tmp_path / "bad.mat").write_bytes(b"no matlab file at all")
    with pytest.raises(DataError, match="is no MATLAB file"):
        read_rdms(tmp_path / "bad.mat", IDS)
    (tmp_path / "cut.mat").write_bytes((tmp_path / "empty.mat").read_bytes()[:100])
    with pytest.raises(DataError, match="cannot be read as a MATLAB file"):
        read_rdms(tmp_path / "cut.mat", IDS)


@pytest.mark.parametrize("save", ["npy", "npz", "mat"])
def test_similarities_are_refused_and_a_diagonal_of_nan_is_0(tmp_path: Path, save: str) -> None:
    squares = _squares(2)
    path = tmp_path / f"rdms.{save}"

    def read(values: FloatArray) -> FloatArray:
        if save == "npy":
            np.save(path, values)
        elif save == "npz":
            np.savez(path, rdms=values, stimulus_id=IDS)
        else:
            scipy.io.savemat(path, {"RDMs": _structs(values)})
        return read_rdms(path, IDS)

    inside = np.eye(4, dtype=bool)
    np.testing.assert_allclose(read(np.where(inside, np.nan, squares)), [squareform(square) for square in squares])
    for diagonal in (1.0, 0.01, -1.0):
        with pytest.raises(DataError, match="looks like similarities"):
            read(np.where(inside, diagonal, squares))
    one = squares.copy()
    one[1, 2, 2] = 1.0  # of one subject, one stimulus
    with pytest.raises(DataError, match="got 1, which looks like similarities"):
        read(one)
    with pytest.raises(DataError, match="finite"):
        read(np.where(np.isclose(squares, squares.max()), np.nan, squares))
