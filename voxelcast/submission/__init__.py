"""Challenge files: making and checking them."""

from voxelcast.submission.check import SubmissionSummary, check_submission
from voxelcast.submission.layout import N_TEST, TRACK_ROIS, Track
from voxelcast.submission.make import make_submission

__all__ = ["N_TEST", "TRACK_ROIS", "SubmissionSummary", "Track", "check_submission", "make_submission"]
