"""Registries: names, clashes, lazy modules."""

from __future__ import annotations

import pytest

from voxelcast.core.errors import MissingPackageError, OptionError, UnknownNameError
from voxelcast.core.registry import Registry


def test_members_by_name() -> None:
    registry: Registry[object] = Registry("pool", "voxelcast.nothing")
    registry.add("mean", object)
    registry.register("median")(int)
    assert registry.names() == ("mean", "median")
    assert registry.names("*an") == ("mean", "median")
    assert registry.get("median") is int
    assert "max" not in registry
    with pytest.raises(UnknownNameError, match="median"):
        registry.get("medium")
    with pytest.raises(OptionError, match="there already"):
        registry.add("mean", int)
    registry.add("mean", object)


def test_modules_are_imported_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Registry[object] = Registry("pool", "voxelcast.nothing", ["voxelcast.no_such_module"])
    with pytest.raises(ModuleNotFoundError):
        registry.names()

    class Point:
        name, dist = "theirs", None

        def load(self) -> object:
            raise ValueError("boom")

    monkeypatch.setattr("voxelcast.core.registry.entry_points", lambda group: [Point()])
    with pytest.raises(MissingPackageError, match="boom"):
        Registry("pool", "voxelcast.nothing").names()
