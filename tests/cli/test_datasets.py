"""``voxelcast datasets``: facts, checks of files, miniatures."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.cli.conftest import Call
from voxelcast.datasets.formats.algonauts2021 import response_path
from voxelcast.testing.miniatures import MINIATURES

BOLD = ("bold='{subject}/{run}_bold.npy'", "tr=2", "events='{run}_events.tsv'")


@pytest.mark.parametrize("name", sorted(MINIATURES))
def test_a_miniature_is_complete_and_repeatable(
    call: Call, miniature: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    again, root = tmp_path / "again", miniature(name)
    assert call("datasets", "simulate", name, again, "--small").code == 0
    checked = call("datasets", "check", name, again, *(BOLD if name == "time_series" else ()))
    assert checked.code == 0, checked.out
    assert checked.out.startswith(f"{name} in {again} (a miniature)\n")
    assert checked.out.splitlines()[-1].startswith("ready: ")
    first, second = ({p.relative_to(each): p for p in each.rglob("*") if p.is_file()} for each in (root, again))
    assert first
    assert set(first) == set(second)
    assert [str(path) for path in first if first[path].read_bytes() != second[path].read_bytes()] == []


def test_check_says_what_is_missing_and_wrong(call: Call, miniature: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(miniature("algonauts2021"), tmp_path / "mini")
    folder = tmp_path / "mini" / "participants_data_v2021"
    response_path(folder, "sub01", "V3").unlink()
    response_path(folder, "sub02", "LOC").write_bytes(pickle.dumps({"train": np.zeros((60, 3, 99))}))
    response_path(folder, "sub02", "V1").write_bytes(b"broken")
    done = call("datasets", "check", "algonauts2021", tmp_path / "mini")
    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[1] == "videos: complete"
    assert lines[2].startswith("responses of sub01: 1 of 9 files missing (about ")
    assert lines[3] == "  missing: participants_data_v2021/mini_track/sub01/V3.pkl"
    assert lines[4] == "responses of sub02: 2 of 9 wrong"
    assert "LOC.pkl: holds 99 voxels; published: " in lines[5]
    assert "V1.pkl: V1.pkl cannot be read as a whole pickle of arrays" in lines[6]
    assert lines[7].startswith("how to get it: ")
    found = json.loads(call("datasets", "check", "algonauts2021", tmp_path / "mini", "--json").out)
    assert [f["state"] for f in found].count("found") == 16
    # Only what the settings need is looked for.
    assert call("datasets", "check", "algonauts2021", tmp_path / "mini", "subjects=[sub01]", "rois=[V1]").code == 0
    assert call("datasets", "check", "algonauts2021", tmp_path / "mini", "track=full").code == 0


def test_check_of_nothing_tells_how_large_the_download_is(call: Call, tmp_path: Path) -> None:
    done = call("datasets", "check", "bold_moments", tmp_path)
    assert done.code == 1
    assert "missing: derivatives/stimuli_metadata/mp4_h264/*.mp4: 0 of 1102 files" in done.out
    # What the 460 files take on OpenNeuro: 4.827 GB, and 1.6 MB of annotations.
    assert "missing in all: about 4.8 GB" in done.out
    assert "OpenNeuro ds005165" in done.out


def test_show_and_list(call: Call) -> None:
    shown = call("datasets", "show", "bold_moments").out
    assert "licence: CC0" in shown
    assert "WB\t108219\t108603" in shown
    facts = json.loads(call("datasets", "show", "algonauts2021", "--json").out)
    assert facts["tr_seconds"] == 1.75
    assert facts["voxels"]["sub04"]["EBA"] == 368
    assert "bold_moments\t" in call("datasets", "list").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "algonauts"), "dataset 'algonauts' does not exist; did you mean algonauts20"),
        (("check", "bold", "x"), "dataset 'bold' does not exist"),
        (("check", "algonauts2021", "x", "trak=full"), "trak is not a setting; did you mean track?"),
        (
            ("check", "bold_moments", "x", "version=A", "template=fsaverage"),
            "version A has a file per ROI in MNI152 alone",
        ),
        (("check", "folder", "nowhere"), "not found"),
        (("simulate", "algonauts2021", "x"), "got no --small; add it"),
        (("simulate", "simulated", "x", "--small"), "miniature 'simulated' does not exist"),
    ],
)
def test_wrong_input_is_told_in_one_line(call: Call, arguments: tuple[str, ...], words: str) -> None:
    done = call("datasets", *arguments)
    assert done.code == 1
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not done.out


def test_a_miniature_overwrites_nothing(call: Call, miniature: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = call("datasets", "simulate", "algonauts2021", tmp_path, "--small")
    assert (done.code, [path.name for path in tmp_path.iterdir()]) == (1, ["mine.txt"])
    root = miniature("algonauts2021")
    done = call("datasets", "simulate", "algonauts2021", root, "--small", "--seed", 1)
    assert "holds another miniature" in done.err
    done = call("datasets", "check", "bold_moments", root)
    assert "miniature of algonauts2021; got dataset kind bold_moments" in done.err


def test_metadata_as_a_table(call: Call, miniature: Callable[[str], Path], tmp_path: Path) -> None:
    root = miniature("bold_moments")
    done = call("datasets", "metadata", "bold_moments", root, "rois=V1", "--output", tmp_path / "facts.csv")
    assert done.out.startswith("72 stimuli, 14 columns")
    table = pd.read_csv(tmp_path / "facts.csv", dtype={"stimulus_id": str}).set_index("stimulus_id")
    annotations = json.loads((root / "derivatives" / "stimuli_metadata" / "annotations.json").read_text())
    assert table.loc["0007", "memorability_score"] == annotations["0007"]["memorability_score"]
    assert json.loads(table.loc["1001", "objects"]) == annotations["1001"]["objects"]
    other = miniature("algonauts2021")
    done = call("datasets", "metadata", "algonauts2021", other, "--output", tmp_path / "none.csv")
    assert (done.code, (tmp_path / "none.csv").exists()) == (1, False)
