"""No file of an output stands for two things."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from voxelcast.core.errors import OptionError, VoxelcastError
from voxelcast.experiment.rsa import load_rsa_settings
from voxelcast.results.schema import pair_name
from voxelcast.results.write import PAIR_FILES, pair_file
from voxelcast.search.variance_partitioning import VariancePartitioningSettings

NAMES = st.text("ab_%5F-", min_size=1, max_size=5)


@given(NAMES, NAMES, NAMES, NAMES)
def test_two_pairs_never_share_a_name(a: str, b: str, c: str, d: str) -> None:
    assert (pair_name(a, b) == pair_name(c, d)) == ((a, b) == (c, d))


def test_files_of_all_pairs_of_awkward_names_differ() -> None:
    pairs = list(product(("a", "a_b", "a_b_c", "a_", "a%5Fb", "_a"), ("c", "b_c", "_c", "c_stimuli", "b_c_stimuli")))
    files = {pair_file(Path("out"), name, pair) for pair in pairs for name in PAIR_FILES}
    assert len(files) == len(pairs) * len(PAIR_FILES)


@pytest.mark.parametrize("subject", ["sub-01", "ann", "Ø1", "s.1"])
def test_other_names_stay_as_they_are(subject: str) -> None:
    assert pair_name(subject, "V1_left") == f"{subject}_V1_left"


@pytest.mark.parametrize("name", ["x_low", "x_high", "x+y"])
def test_a_group_whose_arrays_another_could_have_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match="rename"):
        VariancePartitioningSettings({"x": ("a",), name: ("b",)})


@pytest.mark.parametrize("second", [{"name": "a/b"}, {"name": "other/net", "label": "a-b"}])
def test_two_networks_of_an_rsa_in_one_folder_are_refused(second: dict[str, str], tmp_path: Path) -> None:
    networks = [{"layers": ["x"], **network} for network in ({"name": "a/b"}, second)]
    plain = {"name": "x", "stimuli": "x", "rdms": "y.npy", "networks": networks}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(plain))
    with pytest.raises(VoxelcastError, match="two would be kept as a-b"):
        load_rsa_settings(tmp_path / "x.yaml")
