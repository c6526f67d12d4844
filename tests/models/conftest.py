"""Fixtures of the tests of saved models."""

from __future__ import annotations

from tests.experiment.conftest import clips, images, in_process, unrendered

__all__ = ["clips", "images", "in_process", "unrendered"]
