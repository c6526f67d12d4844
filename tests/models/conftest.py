"""Fixtures of the tests of saved models."""

from __future__ import annotations

from tests.experiment.conftest import images, in_process, unrendered

__all__ = ["images", "in_process", "unrendered"]
