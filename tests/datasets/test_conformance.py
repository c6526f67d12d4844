"""What every dataset must do, on a miniature of each; a new kind needs a maker in miniatures.py."""

from __future__ import annotations

import numpy as np
import pytest

from tests.datasets.miniatures import MAKERS
from voxelcast.core.errors import DataError, UnknownNameError
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.registry import DATASETS, list_datasets


@pytest.fixture(scope="module", params=sorted(DATASETS))
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    made: Dataset = MAKERS[request.param](tmp_path_factory.mktemp(request.param))
    return made


def test_registry_lists_kinds_by_pattern() -> None:
    assert list_datasets() == tuple(sorted(DATASETS))
    assert list_datasets("algo*202[13]") == ("algonauts2021", "algonauts2023")
    assert list_datasets("nothing*") == ()
    assert all(DATASETS.get(kind).kind == kind and DATASETS.get(kind).facts.title for kind in DATASETS)


def test_stimulus_ids_are_unique_and_splits_are_apart(dataset: Dataset) -> None:
    ids = [s.stimulus_id for s in (*dataset.train_stimuli, *dataset.test_stimuli)]
    assert len(set(ids)) == len(ids)
    assert dataset.train_stimuli
    assert all(s.path.is_file() for s in (*dataset.train_stimuli, *dataset.test_stimuli))


def _sets(dataset: Dataset) -> list[tuple[str, str, str]]:
    splits = ["train", "test"] if dataset.has_test_responses else ["train"]
    return [(subject, roi, split) for subject in dataset.subjects for roi in dataset.rois(subject) for split in splits]


def test_responses_follow_the_stimuli(dataset: Dataset) -> None:
    assert _sets(dataset)
    for subject, roi, split in _sets(dataset):
        got = dataset.responses(subject, roi, split)  # type: ignore[arg-type]
        stimuli = dataset.train_stimuli if split == "train" else dataset.test_stimuli
        assert (got.subject, got.roi) == (subject, roi)
        assert got.stimulus_ids == tuple(s.stimulus_id for s in stimuli)
        assert got.values.shape == (len(stimuli), got.n_repetitions, got.n_voxels)
        assert got.n_voxels > 0
        assert got.values.dtype in (np.float32, np.float64)
        assert got.values.dtype.isnative
        assert np.nanstd(got.values) > 0
        again = dataset.responses(subject, roi, split)  # type: ignore[arg-type]
        assert np.array_equal(got.values, again.values, equal_nan=True)
        assert got.unit


def test_response_files_are_there(dataset: Dataset) -> None:
    for subject, roi, _ in _sets(dataset):
        files = dataset.response_files(subject, roi)
        assert files
        assert all(path.is_file() for path in files)


def test_unknown_subject_and_roi(dataset: Dataset) -> None:
    subject = dataset.subjects[0]
    for ask in (dataset.responses, dataset.response_files):
        with pytest.raises(UnknownNameError, match="subject 'nobody' does not exist"):
            ask("nobody", dataset.rois(subject)[0])
        with pytest.raises(UnknownNameError, match=r"ROI '[.][.]/V1' does not exist"):
            ask(subject, "../V1")
    with pytest.raises(UnknownNameError):
        dataset.rois("nobody")


def test_test_responses_are_given_or_refused(dataset: Dataset) -> None:
    if not dataset.has_test_responses:
        with pytest.raises(DataError, match="test responses"):
            dataset.responses(dataset.subjects[0], dataset.rois(dataset.subjects[0])[0], "test")


def test_groups_cover_the_training_stimuli(dataset: Dataset) -> None:
    groups = dataset.groups
    assert groups is None or all(s.stimulus_id in groups for s in dataset.train_stimuli)
