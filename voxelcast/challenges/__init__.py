"""Challenges: what a submission must hold, writing, reading and checking it, and the official scores."""

from voxelcast.challenges.base import Challenge, Shape
from voxelcast.challenges.predictions import score_predictions, write_score
from voxelcast.challenges.registry import challenge_of, challenge_of_file, list_challenges, register_challenge
from voxelcast.challenges.scores import ChallengeScore, Part, PartScore

__all__ = [
    "Challenge",
    "ChallengeScore",
    "Part",
    "PartScore",
    "Shape",
    "challenge_of",
    "challenge_of_file",
    "list_challenges",
    "register_challenge",
    "score_predictions",
    "write_score",
]
