"""What every dataset must do, as tests that ours and those of other packages run.

In a test module of yours::

    class TestMyDataset(DatasetConformance):
        @pytest.fixture(scope="class")
        @classmethod
        def settings(cls, tmp_path_factory):
            return write_my_miniature(tmp_path_factory.mktemp("data"))
"""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from pydantic import TypeAdapter

from voxelcast.core.errors import ConfigError, DataError, UnknownNameError
from voxelcast.core.settings import content
from voxelcast.datasets.base import Dataset, Split
from voxelcast.datasets.inventory import take_inventory
from voxelcast.datasets.registry import DATASETS, dataset_settings, open_dataset
from voxelcast.datasets.settings import DatasetSettings


class DatasetConformance:
    """Tests of one kind of dataset: subclass it and give the fixture ``settings``, of a small dataset that is whole."""

    @pytest.fixture(scope="class")
    @classmethod
    def settings(cls) -> DatasetSettings:
        """Return the settings of a small dataset."""
        raise NotImplementedError("a test of a dataset must give the fixture `settings`")

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls, settings: DatasetSettings) -> Dataset:
        """Open the dataset."""
        return open_dataset(settings)

    def test_it_is_registered_under_its_kind(self, settings: DatasetSettings, dataset: Dataset) -> None:
        """An experiment file finds it."""
        assert DATASETS.get(settings.kind) is type(dataset)
        assert (dataset.kind, type(settings)) == (settings.kind, dataset.Settings)
        assert dataset.facts.title
        assert dataset.facts.licence

    def test_its_settings_survive_the_way_to_a_file_and_to_a_worker(self, settings: DatasetSettings) -> None:
        """They are plain values, and those that count are known without the place of the files."""
        plain = json.loads(TypeAdapter(type(settings)).dump_json(settings))
        assert dataset_settings(plain) == settings
        assert pickle.loads(pickle.dumps(settings)) == settings
        assert str(settings.root) not in json.dumps(content(settings))

    def test_an_unknown_setting_is_refused(self, settings: DatasetSettings) -> None:
        """In one line that says what is allowed."""
        with pytest.raises(ConfigError, match="rooot is not a setting; did you mean root"):
            dataset_settings({"kind": settings.kind, "rooot": "x"}, section="")

    def test_expected_files_are_there(self, settings: DatasetSettings, dataset: Dataset) -> None:
        """The dataset is whole."""
        assert take_inventory(dataset.expected_files(settings)).complete

    def test_stimulus_ids_are_unique_and_splits_are_apart(self, dataset: Dataset) -> None:
        """Everything is joined by ids."""
        stimuli = (*dataset.train_stimuli, *dataset.test_stimuli)
        assert len({stimulus.stimulus_id for stimulus in stimuli}) == len(stimuli)
        assert dataset.train_stimuli
        assert all(stimulus.path.is_file() for stimulus in stimuli)

    def test_responses_follow_the_stimuli(self, dataset: Dataset) -> None:
        """Rows are the stimuli of the split, in their order; reading twice gives the same."""
        assert _sets(dataset)
        for subject, roi, split in _sets(dataset):
            got, again = (dataset.responses(subject, roi, split) for _ in range(2))
            assert (got.subject, got.roi) == (subject, roi)
            assert got.stimulus_ids == dataset.stimulus_ids(split)
            assert got.values.shape == (len(got.stimulus_ids), got.n_repetitions, got.n_voxels)
            assert got.n_voxels > 0
            assert got.values.dtype in (np.float32, np.float64)
            assert got.values.dtype.isnative
            assert np.nanstd(got.values) > 0
            assert np.array_equal(got.values, again.values, equal_nan=True)
            assert got.unit

    def test_extents_are_those_of_the_responses(self, dataset: Dataset) -> None:
        """What a dry run says of a subject is what is read later."""
        for subject, roi, split in _sets(dataset):
            extent, got = dataset.extent(subject), dataset.responses(subject, roi, split)
            assert extent.n_stimuli >= len(got.stimulus_ids)
            assert extent.voxels.get(roi, got.n_voxels) == got.n_voxels
            assert extent.n_repetitions in (None, got.n_repetitions)
            assert "\n" not in extent.shown()

    def test_response_files_are_there(self, dataset: Dataset) -> None:
        """Their bytes are part of a step's key."""
        for subject, roi, _ in _sets(dataset):
            files = dataset.response_files(subject, roi)
            assert files
            assert all(path.is_file() for path in files)

    def test_unknown_subject_and_roi(self, dataset: Dataset) -> None:
        """Names are checked, also those that would lead out of the folder."""
        subject = dataset.subjects[0]
        for ask in (dataset.responses, dataset.response_files):
            with pytest.raises(UnknownNameError, match="subject 'nobody' does not exist"):
                ask("nobody", dataset.rois(subject)[0])
            with pytest.raises(UnknownNameError, match=r"ROI '[.][.]/V1' does not exist"):
                ask(subject, "../V1")
        with pytest.raises(UnknownNameError):
            dataset.rois("nobody")

    def test_test_responses_are_given_or_refused(self, dataset: Dataset) -> None:
        """Where there are none, an error says so."""
        if not dataset.has_test_responses:
            with pytest.raises(DataError, match="test responses"):
                dataset.responses(dataset.subjects[0], dataset.rois(dataset.subjects[0])[0], "test")

    def test_groups_cover_the_training_stimuli(self, dataset: Dataset) -> None:
        """Folds need the group of each."""
        groups = dataset.groups
        assert groups is None or set(dataset.stimulus_ids("train")) <= set(groups)

    def test_voxel_indices_fit_the_responses(self, dataset: Dataset) -> None:
        """Maps need an index for each voxel."""
        for subject, roi, split in _sets(dataset):
            indices = dataset.voxel_indices(subject, roi)
            assert indices is None or indices.n_voxels == dataset.responses(subject, roi, split).n_voxels


def _sets(dataset: Dataset) -> list[tuple[str, str, Split]]:
    splits: tuple[Split, ...] = ("train", "test") if dataset.has_test_responses else ("train",)
    return [(subject, roi, split) for subject in dataset.subjects for roi in dataset.rois(subject) for split in splits]
