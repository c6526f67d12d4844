"""The figures of the report, one by one, as matplotlib axes: ``vc.plot``.

Every function draws into ``ax``, matplotlib Axes, and returns it. Without ``ax`` it makes a small figure in the
report's style, through pyplot, so that a notebook shows it. ``results`` is what
:func:`voxelcast.results.read.read_results` returns, and ``roi`` the name of one of its ROIs; any other raises
UnknownNameError.
"""

from voxelcast.report.plot.layers import layer_map, layer_profile
from voxelcast.report.plot.partition import group_matrix, variance_partitioning
from voxelcast.report.plot.scores import roi_overview, roi_scores
from voxelcast.report.plot.search import hyperparameter, search_history
from voxelcast.report.plot.similarity import layer_similarity, rdm
from voxelcast.report.plot.voxels import measured_and_predicted, voxel_histogram

__all__ = [
    "group_matrix",
    "hyperparameter",
    "layer_map",
    "layer_profile",
    "layer_similarity",
    "measured_and_predicted",
    "rdm",
    "roi_overview",
    "roi_scores",
    "search_history",
    "variance_partitioning",
    "voxel_histogram",
]
