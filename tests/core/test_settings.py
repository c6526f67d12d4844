"""Settings: rules of types, keys of jobs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
from annotated_types import Ge, Lt
from pydantic import TypeAdapter, ValidationError

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.core.settings import NO_EFFECT, content, effective_fields, settings


@settings
class Inner:
    method: Literal["a", "b"] = "a"
    share: Annotated[float, Ge(0), Lt(1)] = 0.5


@settings
class Outer:
    inner: Inner = Inner()
    most: Annotated[int, Ge(1)] | None = None
    device: Annotated[str, NO_EFFECT] = "cpu"
    mode: Annotated[Literal["x", "y"], NO_EFFECT] = "x"

    def __post_init__(self) -> None:
        if self.most == 13:
            raise OptionError("most must not be 13")


@pytest.mark.parametrize("values", [{"method": "c"}, {"share": 1.0}, {"share": -0.1}])
def test_a_rule_of_the_type_holds_in_python_and_in_a_file(values: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="must be"):
        Inner(**values)  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        TypeAdapter(Outer).validate_python({"inner": values})


def test_own_rules_unions_and_unknown_names() -> None:
    assert Outer(most=None).most is None
    for wrong in (0, 13):
        with pytest.raises(OptionError):
            Outer(most=wrong)
    with pytest.raises(OptionError):
        Outer(mode="z")  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match=r"extra|unexpected"):
        TypeAdapter(Outer).validate_python({"inner": {"shore": 0.1}})
    assert TypeAdapter(Outer).validate_python({"inner": {"method": "b"}}) == Outer(Inner("b"))


def test_content_leaves_out_what_changes_no_result() -> None:
    assert effective_fields(Outer) == ("inner", "most")
    assert content(Outer(device="cuda", mode="y")) == content(Outer())
    assert content(Outer(Inner("b"))) != content(Outer())
    assert content(replace(Outer(), most=2)) == {"inner": {"method": "a", "share": 0.5}, "most": 2}


@dataclass(frozen=True)
class Job:
    values: FloatArray
    where: object = None


def test_content_of_arrays_and_paths() -> None:
    one, same, other = np.arange(6.0), np.arange(6.0), np.arange(6.0).reshape(2, 3)
    assert content(Job(one)) == content(Job(same))
    assert content(Job(one)) != content(Job(other))
    assert content(Job(one)) != content(Job(one.astype(np.float32)))
    with pytest.raises(TypeError, match="path"):
        content(Job(one, Path("there")))
