"""Where vertices lie: every response of GIFTI and CIFTI files says its own place, and must land there."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

import voxelcast.cli.results as maps_module
from tests.datasets.miniatures import write_images
from voxelcast.core.errors import DataError
from voxelcast.datasets.base import Dataset, VertexIndices
from voxelcast.datasets.folder import FolderDataset
from voxelcast.datasets.folder_settings import FolderSettings
from voxelcast.datasets.readers.brain_images import open_image
from voxelcast.datasets.readers.voxel_indices import voxel_indices
from voxelcast.datasets.time_series import TimeSeriesDataset, TimeSeriesSettings
from voxelcast.report.brain_maps import SurfaceMap, make_map, write_map

IDS = ("a", "b", "c")
N_LEFT, N_RIGHT = 12, 12
# A file's columns in their order, as values that say where they lie: 100 + vertex left, 200 + vertex right, 300 below.
GIFTI = [*(100 + vertex for vertex in range(N_LEFT)), *(200 + vertex for vertex in range(N_RIGHT))]
GAP = [101, 102, 105, 106, 110, 111]  # 0, 3, 4 and 7 to 9 are the medial wall
WHOLE = [200, 203, 204, 211, 300, 301, 302, *GAP]  # the right side first, then a volume
SAID = {"lh": "CortexLeft", "rh": "CortexRight"}


def _write_gifti(path: Path, columns: list[int], structure: str | None = None) -> None:
    arrays = [nib.gifti.GiftiDataArray(np.array(columns, np.float32) + 1000 * k) for k in range(len(IDS))]
    meta = nib.gifti.GiftiMetaData(AnatomicalStructurePrimary=structure) if structure else None
    nib.save(nib.gifti.GiftiImage(darrays=arrays, meta=meta), path)


def _axis(columns: list[int]) -> nib.cifti2.BrainModelAxis:
    """Describe columns: as many parts as there are changes of structure."""
    parts = []
    for structure in dict.fromkeys(column // 100 for column in columns):
        places = np.array([column % 100 for column in columns if column // 100 == structure])
        if structure < 3:
            name, size = ("cortex_left", N_LEFT) if structure == 1 else ("cortex_right", N_RIGHT)
            parts.append(nib.cifti2.BrainModelAxis.from_surface(places, size, name=name))
        else:
            mask = np.zeros((3, 3, 3), dtype=bool)
            mask.flat[places] = True
            parts.append(nib.cifti2.BrainModelAxis.from_mask(mask, name="thalamus_left", affine=np.eye(4)))
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    return whole


def _write_cifti(path: Path, columns: list[int], rows: np.ndarray | None = None) -> None:
    values = np.array(columns, np.float32) + 1000 * np.arange(len(IDS))[:, None] if rows is None else rows
    maps = (
        nib.cifti2.SeriesAxis(0, 2.0, len(values))
        if path.name.endswith("dtseries.nii")
        else nib.cifti2.ScalarAxis([f"map {k}" for k in range(len(values))])
    )
    nib.save(nib.Cifti2Image(np.asarray(values, np.float32), (maps, _axis(columns))), path)


def _folder(root: Path, name: str, masks: dict[str, str] | None = None) -> FolderDataset:
    write_images(root / "stimuli", list(IDS))
    (root / "stimulus_ids.txt").write_text("\n".join(IDS))
    return FolderDataset(FolderSettings(root, responses={"ann": name}, masks=masks))


def _map(dataset: Dataset, roi: str) -> SurfaceMap:
    """Map the responses to the first stimulus: values that say where they lie."""
    made = make_map(dataset, "ann", {roi: dataset.responses("ann", roi).values[0, 0]})
    assert isinstance(made, SurfaceMap)
    return made


def _expected(columns: list[int], structure: int, size: int) -> np.ndarray:
    expected = np.full(size, np.nan, np.float32)
    for column in columns:
        if column // 100 == structure:
            expected[column % 100] = column
    return expected


def _check(made: SurfaceMap, columns: list[int], folder: Path) -> None:
    """Compare a map, and its files read by nibabel, with what the columns say."""
    sides = (made.left, made.right)
    paths = write_map(folder, "ann_r", made)
    assert [path.name for path in paths] == ["ann_r_hemi-L.func.gii", "ann_r_hemi-R.func.gii"]
    for structure, (side, path) in enumerate(zip(sides, paths, strict=True), start=1):
        np.testing.assert_array_equal(side, _expected(columns, structure, N_LEFT))
        image = nib.load(path)
        np.testing.assert_array_equal(image.darrays[0].data, side)
        assert image.meta["AnatomicalStructurePrimary"] == ("CortexLeft", "CortexRight")[structure - 1]
    assert made.n_elsewhere == sum(column >= 300 for column in columns)


@pytest.mark.parametrize("by", ["all", "mask", "table"])
@pytest.mark.parametrize("kind", ["gifti", "cifti", "cifti with a volume"])
def test_values_land_on_the_vertices_that_they_are_of(tmp_path: Path, kind: str, by: str) -> None:
    columns = {"gifti": GIFTI, "cifti": [*GAP, 200, 203, 204, 211], "cifti with a volume": WHOLE}[kind]
    inside = [place for place, column in enumerate(columns) if column in (101, 110, 111, 203, 211, 301)]
    mask = np.isin(np.arange(len(columns)), inside).astype(np.float32)
    if kind == "gifti":
        for side, part in (("lh", slice(0, N_LEFT)), ("rh", slice(N_LEFT, None))):
            _write_gifti(tmp_path / f"{side}.betas.func.gii", GIFTI[part])
            arrays = [nib.gifti.GiftiDataArray(mask[part])]
            nib.save(nib.gifti.GiftiImage(darrays=arrays), tmp_path / f"{side}.some.shape.gii")
        name, mask_name = "{hemi}.betas.func.gii", "{hemi}.some.shape.gii"
    else:
        name, mask_name = "betas.dscalar.nii", "some.dscalar.nii"
        _write_cifti(tmp_path / name, columns)
        _write_cifti(tmp_path / mask_name, columns, mask[None])
    if by == "table":
        rows = [f"{place},some" for place in reversed(inside)]
        (tmp_path / "rois.csv").write_text("\n".join(["voxel,roi", *rows]) + "\n")
    dataset = _folder(tmp_path, name, {"some": mask_name} if by == "mask" else None)
    roi = "all" if by == "all" else "some"
    assert dataset.rois("ann") == (roi,)
    indices = dataset.voxel_indices("ann", roi)
    assert isinstance(indices, VertexIndices)
    assert indices.mesh == f"surface of {N_LEFT} vertices"
    _check(_map(dataset, roi), columns if by == "all" else [columns[place] for place in inside], tmp_path)


def test_overlapping_rois_count_a_voxel_below_the_cortex_once(tmp_path: Path) -> None:
    _write_cifti(tmp_path / "betas.dscalar.nii", WHOLE)
    rois = {"one": (300, 301, 101), "two": (301, 101), "below": (302,)}  # as they are in the file
    rows = [f"{WHOLE.index(column)},{roi}" for roi, columns in rois.items() for column in columns]
    (tmp_path / "rois.csv").write_text("\n".join(["voxel,roi", *rows]) + "\n")
    dataset = _folder(tmp_path, "betas.dscalar.nii")
    made = make_map(dataset, "ann", {"one": np.array([8.0, 8.0, 0.1]), "two": np.array([8.0, 0.3])})
    assert isinstance(made, SurfaceMap)
    assert made.n_elsewhere == 2
    np.testing.assert_allclose(made.left[1], 0.2, rtol=1e-6)
    assert np.isfinite(made.left).sum() == 1
    assert not np.isfinite(made.right).any()
    with pytest.raises(DataError, match="none of the 1 voxels of ann lies on the surface"):
        make_map(dataset, "ann", {"below": np.ones(1)})


@pytest.mark.parametrize("kind", ["func.gii", "dtseries.nii"])
def test_time_series_say_where_their_vertices_lie(tmp_path: Path, kind: str) -> None:
    n_volumes = 30
    columns = WHOLE if kind == "dtseries.nii" else GIFTI
    for run in ("run-1", "run-2"):
        (tmp_path / f"{run}_events.tsv").write_text("onset\tduration\ttrial_type\n4\t2\tface\n20\t2\tface\n")
        rows = np.random.default_rng(0).standard_normal((n_volumes, len(columns))).astype(np.float32)
        if kind == "dtseries.nii":
            _write_cifti(tmp_path / f"ann_{run}.dtseries.nii", columns, rows)
            continue
        for side, part in (("L", slice(0, N_LEFT)), ("R", slice(N_LEFT, None))):
            arrays = [nib.gifti.GiftiDataArray(row) for row in rows[:, part]]
            nib.save(nib.gifti.GiftiImage(darrays=arrays), tmp_path / f"ann_{run}_hemi-{side}.func.gii")
    bold = "{subject}_{run}.dtseries.nii" if kind == "dtseries.nii" else "{subject}_{run}_hemi-{hemi}.func.gii"
    dataset = TimeSeriesDataset(
        TimeSeriesSettings(tmp_path, bold=bold, tr=2.0, events="{run}_events.tsv", drift="none")
    )
    _check_columns(dataset, columns, tmp_path)


def _check_columns(dataset: Dataset, columns: list[int], folder: Path) -> None:
    made = make_map(dataset, "ann", {"all": np.array(columns, float)})
    assert isinstance(made, SurfaceMap)
    _check(made, columns, folder)


@pytest.mark.parametrize(("side", "first"), [("lh", 100), ("rh", 200)])
def test_one_hemisphere_gives_the_map_of_one_side(tmp_path: Path, side: str, first: int) -> None:
    columns = [first + vertex for vertex in range(N_LEFT)]
    _write_gifti(tmp_path / "betas.func.gii", columns, SAID[side])
    made = _map(_folder(tmp_path, "betas.func.gii"), "all")
    for other in "LR":
        (tmp_path / f"ann_r_hemi-{other}.func.gii").write_bytes(b"of an earlier map")
    (path,) = write_map(tmp_path, "ann_r", made)
    assert list(tmp_path.glob("ann_r*")) == [path]
    assert path.name == f"ann_r_hemi-{side[0].upper()}.func.gii"
    np.testing.assert_array_equal(nib.load(path).darrays[0].data, columns)
    assert len(made.right if side == "lh" else made.left) == 0
    _write_gifti(tmp_path / "betas.func.gii", columns)
    with pytest.raises(DataError, match="must say which hemisphere it is of"):
        _map(FolderDataset(FolderSettings(tmp_path, responses={"ann": "betas.func.gii"})), "all")


def test_hemispheres_of_a_subjects_own_surface_differ_in_size(tmp_path: Path) -> None:
    right = [*GIFTI[N_LEFT:], 212, 213]
    _write_gifti(tmp_path / "lh.betas.func.gii", GIFTI[:N_LEFT])
    _write_gifti(tmp_path / "rh.betas.func.gii", right)
    made = _map(_folder(tmp_path, "{hemi}.betas.func.gii"), "all")
    assert made.mesh == "surface of 12 and 14 vertices"
    np.testing.assert_array_equal(made.left, GIFTI[:N_LEFT])
    np.testing.assert_array_equal(made.right, right)


@pytest.mark.parametrize(
    ("name", "size", "mesh"),
    [
        ("lh.b.func.gii", 163_842, "fsaverage"),
        ("lh.b.func.gii", 40_962, "fsaverage6"),
        ("a_space-fsaverage_den-10k_hemi-L_b.func.gii", 10_242, "fsaverage5"),
        ("a_space-fsaverage5_hemi-L_b.func.gii", 10_242, "fsaverage5"),
        ("a_space-fsaverage5_hemi-L_b.func.gii", 40_962, "fsaverage5 of 40962 vertices"),
        ("a_space-fsLR_den-32k_hemi-L_b.func.gii", 32_492, "fsLR32k"),
        ("a.L.b.164k_fs_LR.func.gii", 163_842, "fsLR of 163842 vertices"),
        ("a_space-fsnative_hemi-L_b.func.gii", 10_242, "fsnative of 10242 vertices"),
        ("lh.b.func.gii", 7, "surface of 7 vertices"),
    ],
)
def test_meshes_are_named_by_their_vertices_and_the_space_of_the_file(
    tmp_path: Path, name: str, size: int, mesh: str
) -> None:
    nib.save(nib.gifti.GiftiImage(darrays=[nib.gifti.GiftiDataArray(np.zeros(size, np.float32))]), tmp_path / name)
    indices = voxel_indices(open_image(tmp_path / name), np.array([4, 2]))
    assert isinstance(indices, VertexIndices)
    assert (indices.mesh, indices.n_vertices) == (mesh, (size, 0))
    np.testing.assert_array_equal(indices.left, [4, 2])


def test_a_file_that_has_changed_is_not_mapped(tmp_path: Path) -> None:
    _write_cifti(tmp_path / "betas.dscalar.nii", WHOLE)
    dataset = _folder(tmp_path, "betas.dscalar.nii")
    _write_cifti(tmp_path / "betas.dscalar.nii", [*WHOLE[:-1], 109])
    with pytest.raises(DataError, match="has changed since it was opened"):
        dataset.voxel_indices("ann", "all")


def test_the_command_writes_maps_that_no_picture_can_be_drawn_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_cifti(tmp_path / "betas.dscalar.nii", WHOLE)
    dataset = _folder(tmp_path, "betas.dscalar.nii")
    monkeypatch.setattr(maps_module, "open_dataset", lambda source: dataset)
    output = tmp_path / "output"
    (output / "voxels").mkdir(parents=True)
    (output / "brain_maps").mkdir()
    (output / "brain_maps" / "ann_pearson_r.png").write_bytes(b"of an earlier map")
    r = np.linspace(-0.5, 0.5, len(WHOLE))
    np.savez(output / "voxels" / "ann_all.npz", pearson_r=r, q_value=np.abs(r))
    said = CliRunner().invoke(maps_module.maps, [str(output)])
    assert said.exit_code == 0, said.output
    assert said.stderr.splitlines() == [
        "not on the maps: 3 voxels of ann that lie on the surface of neither hemisphere, such as subcortical ones",
        "no picture: a picture needs a mesh of fsaverage, fsaverage6, fsaverage5; got surface of 12 vertices; the "
        "GIFTI files can be opened in other viewers",
    ]
    names = [f"ann_{name}_hemi-{side}.func.gii" for name in ("pearson_r", "q_value") for side in "LR"]
    assert sorted(path.name for path in (output / "brain_maps").iterdir()) == names
    left = nib.load(output / "brain_maps" / names[0]).darrays[0].data
    assert left[2] == pytest.approx(r[WHOLE.index(102)])
    assert np.isnan(left[0])
