from __future__ import annotations

import collections
import functools
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxelcast.core.errors import DataError, MissingFileError, UnsafeFileError
from voxelcast.datasets.readers.pickles import load_pickle

CONTENT: dict[str, Any] = {
    "train": np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(4, dtype=">i4"),
    "text": np.array(["a", "bcd"]),
    "bytes": np.array([b"a", b"bcd"]),
    "empty": np.zeros((0, 3)),
    "scalar": np.float32(2.5),
    "point": np.array(3.0),
    "mask": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "plain": [1, (2.0, "x", b"yz", None, True, 3 + 4j), {"k": 10**30}, {1, 2}, frozenset({3}), bytearray(b"q"), b""],
}


def _write(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "responses.pkl").write_bytes(data)
    return tmp_path / "responses.pkl"


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_plain_values_come_back(tmp_path: Path, protocol: int) -> None:
    read = load_pickle(_write(tmp_path, pickle.dumps(CONTENT, protocol=protocol)))
    assert isinstance(read, dict)
    assert list(read) == list(CONTENT)
    for key, value in CONTENT.items():
        assert type(read[key]) is type(value)
        if isinstance(value, np.ndarray):
            assert read[key].dtype == value.dtype.newbyteorder("=")
            assert np.array_equal(read[key], value)
        else:
            assert read[key] == value


def _short(text: bytes) -> bytes:
    return b"U" + bytes([len(text)]) + text  # SHORT_BINSTRING: what Python 2 wrote for str


def test_python_2_pickle_with_latin1_bytes(tmp_path: Path) -> None:
    """Opcode for opcode what Python 2's cPickle, protocol 2, writes for {'train': array} with numpy 1."""
    values = np.array([[1.5, -2.25], [1e300, np.nan]])  # bytes above 127 appear as latin1 text
    raw = values.tobytes()
    data = (
        b"\x80\x02}q\x01" + _short(b"train") + b"q\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04"
        b"K\x00\x85" + _short(b"b") + b"\x87Rq\x05(K\x01K\x02K\x02\x86cnumpy\ndtype\nq\x06" + _short(b"f8")
        + b"K\x00K\x01\x87Rq\x07(K\x03" + _short(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<I", len(raw)) + raw + b"tbs."
    )  # fmt: skip
    assert np.array_equal(pickle.loads(data, encoding="latin1")["train"], values, equal_nan=True)
    read = load_pickle(_write(tmp_path, data))
    assert isinstance(read, dict)
    assert np.array_equal(read["train"], values, equal_nan=True)


class _Reduce:
    """Pickles as a call of anything."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.call = (function, args, state) if state is not None else (function, args)

    def __reduce__(self) -> Any:
        return self.call


class _Own:
    pass


class _Subclass(np.ndarray):
    pass


def _global(module: str, name: str, args: bytes = b"(tR.") -> bytes:
    return f"c{module}\n{name}\n".encode() + args


def _stack_global(module: str, name: str, args: bytes = b")R.") -> bytes:
    return b"\x80\x04" + b"".join(b"\x8c" + bytes([len(t)]) + t.encode() for t in (module, name)) + b"\x93" + args


_TOUCH = b"(S'touch %s'\ntR."

HOSTILE: dict[str, bytes] = {
    "os.system, old opcode": _global("os", "system", _TOUCH),
    "posix.system, stack opcode": _stack_global("posix", "system", b"\x8c\x08touch %s\x85R."),
    "nested in a list of arrays": pickle.dumps([np.zeros(2), {"train": _Reduce(os.system, "touch %s")}]),
    "builtins.eval": pickle.dumps(_Reduce(eval, "__import__('os').system('touch %s')")),
    "Python 2 __builtin__.eval": _global("__builtin__", "eval", b"(S'1+1'\ntR."),
    "builtins.getattr": pickle.dumps(_Reduce(getattr, np.zeros(1), "tofile")),
    "dotted name": _stack_global("numpy", "ndarray.tofile"),
    "dotted builtin": _stack_global("builtins", "bytes.fromhex"),
    "numpy.load": pickle.dumps(_Reduce(np.load, "x.npy")),
    "numpy.f2py": _global("numpy.f2py.crackfortran", "myeval"),
    "numpy.core callable": _global("numpy.core.multiarray", "fromfile"),
    "numpy.testing runstring": _global("numpy.testing._private.utils", "runstring"),
    "copyreg": _global("copyreg", "_reconstructor"),
    "copy_reg of Python 2": _global("copy_reg", "_reconstructor"),
    "functools.partial": pickle.dumps(functools.partial(os.system, "touch %s")),
    "a class of one's own": pickle.dumps(_Own()),
    "OrderedDict": pickle.dumps(collections.OrderedDict(a=1)),
    "array subclass": pickle.dumps(np.zeros(3).view(_Subclass)),
    "object array": pickle.dumps(np.array([1, "x", None], dtype=object)),
    "object array with a call inside": pickle.dumps(np.array([_Reduce(os.system, "touch %s")], dtype=object)),
    "structured array": pickle.dumps(np.zeros(2, dtype=[("a", "f8"), ("b", "i4")])),
    "structured by text": _global("numpy", "dtype", b"(S'O,O'\nI00\nI01\ntR."),
    "persistent id, text": b"Pname\n.",
    "persistent id, binary": b"K\x01Q.",
    "other codec": _global("_codecs", "encode", b"(VAA\nVbz2\ntR."),
    "INST opcode": b"(S'touch %s'\nios\nsystem\n.",
    "OBJ opcode": b"(cos\nsystem\nS'touch %s'\no.",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_pickles_are_refused_and_nothing_runs(tmp_path: Path, data: bytes) -> None:
    witness = tmp_path / "w"
    path = _write(tmp_path, data)
    here = Path.cwd()
    os.chdir(tmp_path)  # the commands touch files by relative names
    try:
        with pytest.raises(UnsafeFileError, match=r"^responses\.pkl ") as caught:
            load_pickle(path)
    finally:
        os.chdir(here)
    assert "\n" not in str(caught.value)
    assert [item.name for item in tmp_path.iterdir()] == ["responses.pkl"]
    assert not witness.exists()


def test_refusal_names_what_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UnsafeFileError, match=r"responses\.pkl asks for os\.system, which is not an array"):
        load_pickle(_write(tmp_path, HOSTILE["os.system, old opcode"]))


# States and calls that plain unpickling would accept, and that could make NumPy read memory that is not the array's.
_DTYPE = b"cnumpy\ndtype\n(S'f8'\nI00\nI01\ntR"
_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"


@pytest.mark.parametrize(
    "data",
    [
        _ARRAY + b"(I1\n(I1000\nt" + _DTYPE + b"I00\nS'12345678'\ntb.",  # more elements than bytes
        _ARRAY + b"(I1\n(I-1\nt" + _DTYPE + b"I00\nS'12345678'\ntb.",  # a negative size
        _ARRAY + b"(I1\n(I1\nt" + _DTYPE + b"I00\n(lp0\nI1\natb.",  # a list for bytes
        _ARRAY + b"(I1\n(I1\ntS'O'\nI00\nS'12345678'\ntb.",  # text for a dtype
        _ARRAY + b".",  # no content
        _DTYPE + b"(I3\nS'x'\nNNNI-1\nI-1\nI0\ntb.",  # a byte order that does not exist
        b"cnumpy\nndarray\n(tR.",  # the array class itself, called
        b"cnumpy\ndtype\n(S'f8'\ntR(dp0\nS'_code'\nS'O'\nsb.",  # a dict as the state of a dtype
        b"cnumpy\nndarray\n(dp0\nS'x'\nI1\nsb.",  # state for a class
        b"(lp0\ng0\na.",  # a list that holds itself
        b"]" * 3000 + b"a" * 2999 + b".",  # lists in lists
    ],
)
def test_states_that_do_not_fit_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises((DataError, UnsafeFileError)) as caught:
        load_pickle(_write(tmp_path, data))
    assert "\n" not in str(caught.value)
    assert load_pickle(_write(tmp_path, pickle.dumps({"a": 1.0}))) == {"a": 1.0}  # and leave nothing behind


def test_broken_files_are_data_errors(tmp_path: Path) -> None:
    whole = pickle.dumps(CONTENT, protocol=2)
    rng = np.random.default_rng(0)
    for length in rng.integers(0, len(whole) - 1, 100):
        with pytest.raises((DataError, UnsafeFileError)):
            load_pickle(_write(tmp_path, whole[:length]))
    for _ in range(100):
        with pytest.raises((DataError, UnsafeFileError)) as caught:
            load_pickle(_write(tmp_path, b"\x80\x02" + rng.bytes(60)))
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="whole pickle"):
        load_pickle(_write(tmp_path, b""))
    with pytest.raises(MissingFileError):
        load_pickle(tmp_path / "absent.pkl")


def test_damaged_bytes_never_do_more_than_fail(tmp_path: Path) -> None:
    whole = bytearray(pickle.dumps({"train": np.arange(12.0).reshape(2, 3, 2)}, protocol=2))
    rng = np.random.default_rng(1)
    outcomes = set()
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.integers(len(damaged))] = rng.integers(256)
        try:
            load_pickle(_write(tmp_path, bytes(damaged)))
            outcomes.add("read")
        except (DataError, UnsafeFileError):
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_what_is_shared_is_walked_and_read_once(tmp_path: Path) -> None:
    path = tmp_path / "shared.pkl"
    pair: object = [1.5, "x"]
    for _ in range(60):
        pair = (pair, pair)
    for protocol in (0, 2, 4):
        path.write_bytes(pickle.dumps({"train": pair}, protocol))
        found: Any = load_pickle(path)
        depth, here = 0, found["train"]
        while isinstance(here, tuple):
            assert here[0] is here[1]
            depth, here = depth + 1, here[0]
        assert (depth, here) == (60, [1.5, "x"])
    array = np.arange(300_000.0)
    path.write_bytes(pickle.dumps([array] * 50, 4))
    many: Any = load_pickle(path)
    assert all(one is many[0] for one in many)
    np.testing.assert_array_equal(many[0], array)


@pytest.mark.parametrize(
    "content",
    [
        # A tuple of tuples ... as a key: hashing it takes for ever.
        b"\x80\x04}K\x01K\x02" + b"\x86\x94h\x00" * 0 + b"\x86" + b"2\x86" * 50 + b"K\x01s.",
        b"\x80\x04\x8f(K\x01K\x02\x86" + b"2\x86" * 50 + b"\x90.",
        # The same text turned into bytes again and again, and one list into many sets.
        b"\x80\x02](X\x00\x00\x01\x00" + b"a" * 65536 + b"q\x000"
        + b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" * 200 + b"e.",
        b"\x80\x02]q\x00(" + b"K\x01" * 9000 + b"e0](" + b"cbuiltins\nset\nh\x00\x85R" * 900 + b"e.",
    ],
    ids=["key", "member", "bytes", "sets"],
)  # fmt: skip
def test_claims_beyond_the_file_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "claim.pkl"
    path.write_bytes(content)
    with pytest.raises(UnsafeFileError, match=r"as a key|asks for more than"):
        load_pickle(path)


def test_arrays_that_share_bytes_are_bounded(tmp_path: Path) -> None:
    path, n = tmp_path / "views.pkl", 3000
    data = b"C" if n < 256 else b"B" + (8 * n).to_bytes(4, "little") + bytes(8 * n)
    view = (
        b"cnumpy.core.numeric\n_frombuffer\n(h\x00cnumpy\ndtype\nV<f8\n\x85RM"
        + n.to_bytes(2, "little")
        + b"\x85V"
        + b"C\ntR"
    )
    path.write_bytes(b"\x80\x03" + data + b"q\x000](" + view * 2 + b"e.")
    assert [len(one) for one in load_pickle(path)] == [n, n]  # type: ignore[attr-defined]
    path.write_bytes(b"\x80\x03" + data + b"q\x000](" + view * 500 + b"e.")
    with pytest.raises(UnsafeFileError, match="asks for more than"):
        load_pickle(path)
