"""Challenge files: making and checking them."""

from voxelcast.challenges.check import SubmissionSummary, check_submission
from voxelcast.challenges.layout import TRACK_ROIS
from voxelcast.challenges.make import make_submission
from voxelcast.datasets.formats.algonauts2021 import N_TEST
from voxelcast.datasets.formats.algonauts2021_layout import Track

__all__ = ["N_TEST", "TRACK_ROIS", "SubmissionSummary", "Track", "check_submission", "make_submission"]
