"""What every challenge must do, as tests that ours and those of other packages run.

In a test module of yours::

    class TestMyChallenge(ChallengeConformance):
        @pytest.fixture(scope="class")
        @classmethod
        def datasets(cls, tmp_path_factory):
            return [MyDataset(write_miniature(tmp_path_factory.mktemp("data")))]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from voxelcast.challenges import Challenge, Part, challenge_of, challenge_of_file
from voxelcast.challenges.registry import CHALLENGES
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, MissingFileError, ShapeError, VoxelcastError
from voxelcast.datasets.base import Dataset, ResponseSet


class ChallengeConformance:
    """Tests of one challenge: subclass it and give the fixture ``datasets``.

    ``datasets`` are those of one submission, small, with measured responses to the held-out stimuli.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def datasets(cls) -> Sequence[Dataset]:
        """Return the datasets of one submission."""
        raise NotImplementedError("a test of a challenge must give the fixture `datasets`")

    @pytest.fixture(scope="class")
    @classmethod
    def challenge(cls, datasets: Sequence[Dataset]) -> Challenge:
        """Return the challenge of the datasets."""
        return challenge_of(datasets)

    @pytest.fixture(scope="class")
    @classmethod
    def held_out(cls, datasets: Sequence[Dataset]) -> dict[Part, ResponseSet]:
        """Return the measured responses to the held-out stimuli, by subject and ROI."""
        return {
            (subject, roi): dataset.responses(subject, roi, "test")
            for dataset in datasets
            for subject in dataset.subjects
            for roi in dataset.rois(subject)
        }

    @pytest.fixture
    def predictions(self, held_out: dict[Part, ResponseSet]) -> dict[Part, FloatArray]:
        """Return predictions as a run leaves them, (n_test, n_voxels) by subject and ROI: the measured means."""
        return {part: np.nan_to_num(responses.mean()) for part, responses in held_out.items()}

    def test_is_registered_under_its_name(self, challenge: Challenge, datasets: Sequence[Dataset]) -> None:
        """The registry knows it, its track has files, and its rule's name is its own."""
        assert CHALLENGES.get(challenge.name) is type(challenge)
        assert "subject" in challenge.levels
        assert challenge.track(datasets) in challenge.tracks
        assert set(challenge.files) == set(challenge.tracks)
        assert [name for name in CHALLENGES if CHALLENGES.get(name).rule == challenge.rule] == [challenge.name]

    def test_what_is_written_is_read(
        self, challenge: Challenge, datasets: Sequence[Dataset], predictions: dict[Part, FloatArray], tmp_path: Path
    ) -> None:
        """Written, checked and read back as float32, as a zip and, where the challenge has it, as a folder."""
        path = challenge.write(predictions, datasets, tmp_path)
        assert path.suffix == ".zip"
        assert type(challenge_of_file(path)) is type(challenge)
        assert challenge.check(path, datasets).startswith(f"{path.name}: ")
        shapes = challenge.shapes(datasets, challenge.track(datasets))
        parts = challenge.split(predictions, datasets)
        for source in (path, tmp_path):
            read = challenge.read(source, shapes)
            assert list(read) == list(shapes)
            for part, values in read.items():
                np.testing.assert_array_equal(values, parts[part].astype(np.float32))

    def test_same_predictions_give_the_same_bytes(
        self, challenge: Challenge, datasets: Sequence[Dataset], predictions: dict[Part, FloatArray], tmp_path: Path
    ) -> None:
        """In whatever order they come."""
        first = challenge.write(predictions, datasets, tmp_path / "a").read_bytes()
        turned = dict(reversed(predictions.items()))
        assert challenge.write(turned, datasets, tmp_path / "b").read_bytes() == first

    def test_removes_what_it_wrote_and_nothing_else(
        self, challenge: Challenge, datasets: Sequence[Dataset], predictions: dict[Part, FloatArray], tmp_path: Path
    ) -> None:
        """A file of the user's stays."""
        challenge.write(predictions, datasets, tmp_path)
        (tmp_path / "mine.zip").touch()
        challenge.remove(tmp_path, challenge.track(datasets))
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine.zip"]

    @pytest.mark.parametrize("fault", ["missing", "shape", "nan"])
    def test_refuses_what_is_not_in_order(
        self,
        challenge: Challenge,
        datasets: Sequence[Dataset],
        predictions: dict[Part, FloatArray],
        tmp_path: Path,
        fault: str,
    ) -> None:
        """A missing part, a wrong shape and NaN are named in one line, and nothing is written."""
        arrays = challenge.split(predictions, datasets)
        shapes = challenge.shapes(datasets, challenge.track(datasets))
        part, values = next(iter(arrays.items()))
        if fault == "missing":
            del arrays[part]
        else:
            arrays[part] = values[:, :-1] if fault == "shape" else np.full_like(values, np.nan)
        kind: type[VoxelcastError] = ShapeError if fault == "shape" else DataError
        with pytest.raises(kind) as caught:
            challenge.write_arrays(arrays, shapes, tmp_path / "new")
        assert part[0] in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "new").exists()

    def test_a_file_that_is_not_there_is_named(
        self, challenge: Challenge, datasets: Sequence[Dataset], tmp_path: Path
    ) -> None:
        """Its name is in the message."""
        with pytest.raises(MissingFileError, match=r"none\.zip"):
            challenge.check(tmp_path / "none.zip", datasets)

    def test_perfect_predictions_score_best(
        self,
        challenge: Challenge,
        datasets: Sequence[Dataset],
        held_out: dict[Part, ResponseSet],
        predictions: dict[Part, FloatArray],
    ) -> None:
        """The measured means correlate 1 with themselves; shuffled, they score less."""
        measured = challenge.split({part: responses.values for part, responses in held_out.items()}, datasets)
        best = challenge.score(measured, challenge.split(predictions, datasets))
        rng = np.random.default_rng(0)
        shuffled = {part: rng.permutation(values) for part, values in predictions.items()}
        other = challenge.score(measured, challenge.split(shuffled, datasets))
        assert all(part.pearson_r == pytest.approx(1) for part in best.parts)
        assert np.isfinite([best.score, *best.lines.values()]).all()
        assert other.score < best.score
