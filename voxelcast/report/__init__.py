"""Figures and the one-file HTML report."""

from voxelcast.report.page import write_report

__all__ = ["write_report"]
