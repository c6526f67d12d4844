"""Figures and the one-file HTML report."""

from voxelcast.report.comparison_page import write_comparison
from voxelcast.report.page import write_report

__all__ = ["write_comparison", "write_report"]
