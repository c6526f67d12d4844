"""Automatic machine learning: in this process, and auto-sklearn in an environment of its own."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, MissingPackageError, OptionError, UnwritableError
from voxelcast.encoders.automl import AutoML
from voxelcast.encoders.autosklearn import AutoSklearn
from voxelcast.encoders.autosklearn_environment import install
from voxelcast.encoders.params import AutoMLSettings, ProblemSize
from voxelcast.encoders.registry import ENCODERS, check_ready, get_encoder, list_encoders

needs_flaml = pytest.mark.skipif(
    find_spec("flaml") is None or find_spec("lightgbm") is None, reason="flaml[automl] is not installed"
)


def _data(n: int = 120, q: int = 7) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 4))
    return X, X @ rng.standard_normal((4, q)) + 0.5 * rng.standard_normal((n, q)) + 3


def _r(P: FloatArray, Y: FloatArray) -> float:
    return float(np.mean([np.corrcoef(P[:, v], Y[:, v])[0, 1] for v in range(Y.shape[1])]))


@needs_flaml
@pytest.mark.slow
@pytest.mark.parametrize("q", [1, 7])
def test_flaml_predicts_held_out_stimuli(q: int) -> None:
    X, Y = _data(q=q)
    model = AutoML(0, AutoMLSettings(5.0)).fit(X[:80].astype(np.float32), Y[:80].astype(np.float32), {})
    assert len(model.searches) == min(5, q)
    predicted = model.predict(X[80:])
    assert predicted.shape == (40, q)
    assert model.predict(X[:0]).shape == (0, q)
    assert _r(predicted, Y[80:]) > 0.6


def test_flaml_refuses_what_it_cannot_do() -> None:
    with pytest.raises(OptionError, match="no hyper-parameter 'alpha'"):
        AutoML().fit(*_data(), {"alpha": 1.0})
    with pytest.raises(DataError, match="at least 10 training stimuli; got 4"):
        AutoML().fit(*_data(4), {})


def test_a_missing_flaml_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("flaml", "flaml.automl", "flaml.automl.automl"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError, match=r"pip install 'voxelcast\[automl\]'"):
        check_ready(["ridge", "flaml"])


def test_a_missing_environment_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(install.VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(MissingPackageError, match="nowhere; make it with: voxelcast encoders install-autosklearn"):
        AutoSklearn().fit(*_data(), {})


def test_budgets_are_checked() -> None:
    with pytest.raises(OptionError, match="seconds must be at least 1; got 0"):
        AutoMLSettings(0.0)
    with pytest.raises(OptionError, match=r"automl.seconds must be at least 30 for autosklearn; got 5"):
        AutoSklearn(0, AutoMLSettings(5.0)).fit(*_data(), {})


@pytest.mark.parametrize("name", ["autosklearn", "flaml"])
def test_the_registry_passes_seed_and_budget_on(name: str) -> None:
    encoder = get_encoder(name, 4, AutoMLSettings(90.0, 512))
    assert type(encoder) is ENCODERS.get(name)
    assert encoder.uses_automl
    assert (encoder.seed, encoder.automl) == (4, AutoMLSettings(90.0, 512))
    assert encoder.param_grid(ProblemSize(100, 5, 5)) == ({},)
    assert 90 <= encoder.fit_seconds(ProblemSize(100, 5, 5)) < 120
    assert name in list_encoders()


def _pretend(folder: Path, script: str) -> None:
    """Write an interpreter that runs ``script`` with $verb and $folder instead of auto-sklearn."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nverb="$3"\nfolder="$4"\n{script}\n')
    python.chmod(0o755)


def test_arrays_go_out_and_come_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The stand-in predicts by returning the features: what matters is who hands over what.
    _pretend(
        tmp_path,
        'test "$1" = -I || exit 9\n'
        'if [ "$verb" = fit ]; then cp "$folder/settings.json" "' + str(tmp_path / "asked.json") + '";\n'
        'echo \'{"runs": 3, "successful_runs": 2}\' > "$folder/found.json";\n'
        'else cp "$folder/test.npy" "$folder/predictions.npy"; fi',
    )
    monkeypatch.setenv(install.VARIABLE, str(tmp_path))
    X, Y = _data(q=4)
    model = AutoSklearn(1, AutoMLSettings(45.0, 700)).fit(X, Y, {})
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert (asked["seconds"], asked["memory_mb"]) == (45.0, 700)
    assert (model.runs, model.successful_runs) == (3, 2)
    np.testing.assert_array_equal(model.predict(X[:5]), X[:5])
    folder = Path(model.folder.name)
    assert folder.is_dir()
    del model
    assert not folder.exists()


def test_a_failure_inside_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _pretend(tmp_path, "echo 'many lines' >&2; echo 'MemoryError: no more' >&2; exit 1")
    monkeypatch.setenv(install.VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match="could not fit: MemoryError: no more; raise automl"):
        AutoSklearn().fit(*_data(), {})


def test_another_python_is_refused_and_a_folder_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(MissingPackageError, match=r"needs Python 3\.9; got .*python"):
        install.find_python39(sys.executable)
    with pytest.raises(UnwritableError, match="exists already"):
        install.install_environment(tmp_path, Path(sys.executable), print)


def test_pins_have_hashes_and_no_addresses() -> None:
    text = install.PINS.read_text()
    assert "auto-sklearn==0.15.0" in text
    assert "://" not in text
    pinned = [line for line in text.splitlines() if "==" in line]
    assert len(pinned) == 43
    assert text.count("--hash=sha256:") >= len(pinned)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Find auto-sklearn's environment, or make one with the Python 3.9 of this machine; skip where there is none."""
    try:
        install.environment_python()
        yield
        return
    except MissingPackageError:
        pass
    folder = tmp_path_factory.mktemp("autosklearn") / "environment"
    try:
        install.install_environment(folder, install.find_python39(), print)
    except MissingPackageError as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(install.VARIABLE, str(folder))
        yield
    shutil.rmtree(folder)  # half a gigabyte


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
def test_auto_sklearn_itself() -> None:
    X, Y = _data(n=150, q=3)
    model = AutoSklearn(0, AutoMLSettings(30.0)).fit(X[:100], Y[:100], {})
    assert model.successful_runs >= 1
    predicted = model.predict(X[100:])
    assert predicted.shape == (50, 3)
    assert _r(predicted, Y[100:]) > 0.5
