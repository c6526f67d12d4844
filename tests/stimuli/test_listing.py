from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from voxelcast.core.errors import AlignmentError, DataError, MissingFileError, UnsafeFileError, VoxelcastWarning
from voxelcast.stimuli.listing import list_stimuli


def _zip(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


def test_folder_is_sorted_by_file_name_and_passes_over_other_files(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.JPG", "c10.png", "c2.png", ".hidden.mp4", "notes.txt", "meta.json"):
        (tmp_path / name).write_text(name)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "d.mp4").write_text("d")
    found = list_stimuli(tmp_path)
    assert [s.stimulus_id for s in found] == ["a", "b", "c10", "c2"]
    assert [s.is_image for s in found] == [True, False, True, True]
    assert found[1].read_bytes() == b"b.mp4"


def test_recursive_ids_are_relative_paths(tmp_path: Path) -> None:
    for folder in ("x", "y", ".git"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mp4").write_text(folder)
    assert [s.stimulus_id for s in list_stimuli(tmp_path, recursive=True)] == ["x/a", "y/a"]


def test_zip_members_at_any_depth(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "s.zip", "set/b.png", "a/c.png", "a.png", "readme.txt", "__MACOSX/a.png", "set/")
    found = list_stimuli(archive)
    assert [(s.stimulus_id, s.member) for s in found] == [("a", "a.png"), ("b", "set/b.png"), ("c", "a/c.png")]
    assert found[1].read_bytes() == b"set/b.png"


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "..\\evil.png", "../notes.txt"])
def test_one_bad_name_refuses_the_archive(tmp_path: Path, name: str) -> None:
    archive = _zip(tmp_path / "s.zip", "good.png", name)
    with pytest.raises(UnsafeFileError, match="leads outside"):
        list_stimuli(archive)


def test_two_files_of_one_stem_are_both_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.webm").touch()
    with pytest.raises(AlignmentError, match=r"a\.mp4 and a\.webm both give 'a'"):
        list_stimuli(tmp_path)
    with pytest.raises(AlignmentError, match=r"x/a\.png and y/a\.png"):
        list_stimuli(_zip(tmp_path / "s.zip", "y/a.png", "x/a.png"))
    assert len(list_stimuli(tmp_path / "s.zip", recursive=True)) == 2


def test_what_is_not_there_or_not_a_source(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        list_stimuli(tmp_path / "absent")
    with pytest.raises(DataError, match="no video or image"):
        list_stimuli(tmp_path)
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(DataError, match="neither"):
        list_stimuli(tmp_path / "text.zip")


def test_a_suffix_keeps_two_files_of_one_name_apart(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("deep/clip.mp4", "deep/clip.webm"):
        (tmp_path / name).touch()
    with pytest.raises(AlignmentError, match="must be unique"):
        list_stimuli(tmp_path, recursive=True)
    ids = [stimulus.stimulus_id for stimulus in list_stimuli(tmp_path, recursive=True, keep_suffix=True)]
    assert ids == ["deep/clip.mp4", "deep/clip.webm"]


def test_files_passed_over_for_their_suffix_are_named(tmp_path: Path) -> None:
    for name in ("a.png", "b.jfif", "c.AVIF", "d.heic", "e.3gp", "f.HEIC", "notes.txt", "table.csv", ".hidden.flv"):
        (tmp_path / name).write_bytes(b"")
    said = r"3 files are no stimuli by their suffix \(.*1 \.heic.*\): d\.heic, e\.3gp, f\.HEIC; .*convert"
    with pytest.warns(VoxelcastWarning, match=said):
        listed = list_stimuli(tmp_path)
    assert [stimulus.stimulus_id for stimulus in listed] == ["a", "b", "c"]
    assert all(stimulus.is_image for stimulus in listed)
    archive = _zip(tmp_path / "s.zip", "in/a.png", "in/b.flv", "in/notes.txt", "__MACOSX/c.flv")
    with pytest.warns(VoxelcastWarning, match=r"1 files .* \(1 \.flv\): in/b\.flv;"):
        assert len(list_stimuli(archive)) == 1


def test_nothing_is_said_of_tables_and_texts(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    for name in ("a.png", "README", "responses.npy", "stimuli.csv", "sub01.nii.gz", "metadata.json", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"")
    assert len(list_stimuli(tmp_path)) == 1
    assert not recwarn.list
