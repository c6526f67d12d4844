"""What ``import voxelcast`` offers: light, complete, typed, and every name with an example that runs."""

from __future__ import annotations

import ast
import doctest
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import voxelcast as vc
from tests.experiment.conftest import in_process
from voxelcast.core.registry import Registry

__all__ = ["in_process"]

HEAVY = ("numpy", "torch", "pandas", "xarray", "pydantic", "scipy", "sklearn", "matplotlib", "av")
REGISTRIES = (
    "challenges.registry.CHALLENGES",
    "datasets.registry.DATASETS",
    "encoders.registry.ENCODERS",
    "features.pooling.POOLS",
    "networks.family.FAMILIES",
)


@pytest.fixture
def same_registries() -> Iterator[None]:
    """Take out again what an example registers."""
    found = []
    for name in REGISTRIES:
        module, _, attribute = name.rpartition(".")
        registry = getattr(import_module(f"voxelcast.{module}"), attribute)
        if isinstance(registry, Registry):
            registry.names()
            found.append((registry._members, dict(registry._members)))
    yield
    for members, before in found:
        members.clear()
        members.update(before)


def test_the_import_is_light() -> None:
    code = f"import sys, voxelcast; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_names_are_the_same_at_run_time_and_for_type_checkers() -> None:
    tree = ast.parse(Path(vc.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imported = {
        alias.name: node.module.removeprefix("voxelcast.")
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    assert imported == vc._MODULES
    assert vc.__all__ == sorted(vc._MODULES) == list(vc._MODULES)
    assert dir(vc) == sorted([*vc.__all__, "__version__"])
    assert (Path(vc.__file__).parent / "py.typed").is_file()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'evaluat'"):
        vc.evaluat  # noqa: B018


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "sweep" else [])
        for name in vc.__all__
        if name not in ("insilico", "plot")
    ],
)
@pytest.mark.usefixtures("same_registries", "in_process")
def test_the_example_of_each_name_runs(name: str, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    public = getattr(vc, name)
    examples = [test for test in doctest.DocTestFinder(recurse=False).find(public, name, globs={}) if test.name == name]
    assert sum(len(test.examples) for test in examples) >= 2, "an example imports voxelcast and uses the name"
    said: list[str] = []
    for test in examples:
        doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=said.append)
    assert not said, "".join(said)


def test_figures_are_a_module() -> None:
    assert callable(vc.plot.roi_scores)
    assert set(vc.plot.__all__) <= set(dir(vc.plot))
