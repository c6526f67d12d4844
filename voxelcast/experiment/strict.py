"""The types that settings share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _several(value: object) -> object:
    """One name stands for a list of one."""
    return (value,) if isinstance(value, str) else value


SeveralNames = Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)]


class Strict(BaseModel):
    """Settings that admit no unknown name and do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def content(self) -> object:
        """Return what counts in a key."""
        return self.model_dump(mode="json")
