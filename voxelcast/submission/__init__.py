"""Challenge files: making and checking them."""

from voxelcast.datasets.algonauts2021 import N_TEST
from voxelcast.datasets.layout2021 import Track
from voxelcast.submission.check import SubmissionSummary, check_submission
from voxelcast.submission.layout import TRACK_ROIS
from voxelcast.submission.make import make_submission

__all__ = ["N_TEST", "TRACK_ROIS", "SubmissionSummary", "Track", "check_submission", "make_submission"]
