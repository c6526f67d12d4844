"""Representational similarity analysis: from pictures and measured RDMs to the layer that agrees with them best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from pydantic import Field, field_validator

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_same_stimuli, home_expanded
from voxelcast.core.errors import DataError, StoreError
from voxelcast.core.progress import Progress
from voxelcast.core.seeds import derive_seed
from voxelcast.datasets.readers.rdm_files import read_rdms, unpack_images
from voxelcast.experiment.extraction import FolderExtraction, extract_folder
from voxelcast.experiment.outputs import working_in
from voxelcast.experiment.settings import SettingsFile
from voxelcast.experiment.settings_file import check_settings, read_settings
from voxelcast.experiment.steps.extract import load
from voxelcast.features.spatial_pool import parse_spatial_pool
from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
from voxelcast.results.schema import RSA_LAYERS
from voxelcast.results.write import write_table
from voxelcast.scoring.rdm import DISSIMILARITIES
from voxelcast.scoring.rdm_comparison import bootstrap_rdms, compare_rdms, permute_rdms, rdm_noise_ceiling, rdm_p_values
from voxelcast.scoring.settings import IntervalSettings, SignificanceSettings
from voxelcast.stimuli.listing import list_stimuli
from voxelcast.store.atomic import save_arrays, write_json, write_text
from voxelcast.store.lock import check_folder
from voxelcast.store.provenance import collect_provenance
from voxelcast.store.readers.guard import read_text


class RsaSettings(SettingsFile):
    """Which layer's dissimilarities agree best with measured ones.

    ``stimuli``: a folder or zip of pictures, in the sorted order of their names, or a MATLAB file with a struct array
    that has a field ``image``. ``rdms``: the measured matrices, one per subject (`rdm_files`).
    """

    stimuli: Path
    rdms: Path
    networks: tuple[NetworkSettings, ...] = Field(min_length=1)
    dissimilarity: Literal["correlation", "euclidean"] = "correlation"
    comparison: Literal["spearman", "kendall_tau_a", "pearson"] = "spearman"
    spatial_pool: str = "none"
    interval: IntervalSettings = IntervalSettings()
    significance: SignificanceSettings = SignificanceSettings()
    resample_subjects: bool = True
    seed: int = Field(default=0, ge=0)
    device: str = "cpu"

    @field_validator("stimuli", "rdms")
    @classmethod
    def _expanded(cls, value: Path) -> Path:
        return home_expanded(value)

    @field_validator("spatial_pool")
    @classmethod
    def _known_spatial_pool(cls, value: str) -> str:
        parse_spatial_pool(value)
        return value

    @field_validator("networks")
    @classmethod
    def _folders_differ(cls, value: tuple[NetworkSettings, ...]) -> tuple[NetworkSettings, ...]:
        folders = [_folder(network) for network in value]
        twice = sorted({folder for folder in folders if folders.count(folder) > 1})
        if twice:
            raise ValueError(f"networks: two would be kept as {twice[0]}; give one of them a label of its own")
        return value


def _folder(network: NetworkSettings) -> str:
    """Name the folder of a network's features."""
    return network.shown.replace("/", "-")


def load_rsa_settings(path: Path, overrides: Sequence[str] = ()) -> RsaSettings:
    """Read the settings of an analysis of dissimilarities; errors as `load_config`."""
    return check_settings(RsaSettings, read_settings(path, overrides), str(path))


@dataclass(frozen=True)
class LayerAgreement:
    """How well one layer agrees with the measured RDMs: the mean over subjects, and its bootstrap interval.

    ``best_share`` is the share of the resamples of stimuli (and subjects) in which this layer is the best.
    ``shuffled_low`` and ``shuffled_high`` are the interval of the similarity when the stimuli of the measured RDMs are
    shuffled; ``p_value`` and ``p_best`` are those of `rdm_p_values`; NaN without permutations.
    """

    network: str
    layer: str
    similarity: float
    low: float
    high: float
    best_share: float
    shuffled_low: float
    shuffled_high: float
    p_value: float
    p_best: float


@dataclass(frozen=True)
class RsaResult:
    """All layers, and the bounds of the noise ceiling; NaN with one subject only."""

    layers: tuple[LayerAgreement, ...]
    ceiling_low: float
    ceiling_high: float

    @property
    def best(self) -> LayerAgreement:
        """The layer of highest similarity."""
        return max(self.layers, key=lambda row: row.similarity)


def run_rsa(config: RsaSettings, output: Path, *, progress: Progress) -> RsaResult:
    """Extract features, compute their RDMs, compare them with the measured ones and write what was found.

    Writes ``config.yaml``, ``layers.csv``, ``ceiling.json``, ``rdms.npz`` (``measured`` (n_subjects, n_pairs), and one
    RDM per network and layer), ``layers.png``, ``provenance.json``, and the features under ``features/``. Goes on where
    a killed run was.
    Raises StoreError if ``output`` holds an analysis of other settings.
    """
    with working_in(output):
        return _run(config, output, progress)


def _run(config: RsaSettings, output: Path, progress: Progress) -> RsaResult:
    _check_output(config, output)
    stimuli = config.stimuli
    if stimuli.suffix == ".mat":
        stimuli = output / "stimuli"
        progress.note(f"{unpack_images(config.stimuli, stimuli)} pictures unpacked from {config.stimuli.name}")
    # Read before the long work, so that a wrong file is known at once.
    ids = [stimulus.stimulus_id for stimulus in list_stimuli(stimuli)]
    measured = read_rdms(config.rdms, ids)
    names, models = _model_rdms(config, stimuli, ids, output, progress)
    scores = compare_rdms(models, measured, config.comparison).mean(axis=1)
    progress.note(f"bootstrap of {len(names)} layers, {config.interval.resamples} resamples")
    n, seed, subjects = config.interval.resamples, derive_seed(config.seed, "rsa"), config.resample_subjects
    resampled = bootstrap_rdms(models, measured, config.comparison, n, seed, subjects=subjects)
    tail = (1 - config.interval.level) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    share = np.bincount(resampled.argmax(axis=1), minlength=len(names)) / len(resampled)
    control = np.full((4, len(names)), np.nan)
    if n_permutations := config.significance.permutations:
        permuted = permute_rdms(models, measured, config.comparison, n_permutations, seed)
        control[:2], control[2:] = np.quantile(permuted, [tail, 1 - tail], axis=0), rdm_p_values(scores, permuted)
    rows = tuple(
        LayerAgreement(*name, *map(float, numbers))
        for name, *numbers in zip(names, scores, low, high, share, *control, strict=True)
    )
    ceiling = rdm_noise_ceiling(measured, config.comparison) if len(measured) > 1 else (float("nan"), float("nan"))
    result = RsaResult(rows, *ceiling)
    save_arrays(
        output / "rdms.npz", {"measured": measured} | {"/".join(n): m for n, m in zip(names, models, strict=True)}
    )
    _write(config, result, output, measured, models[rows.index(result.best)])
    return result


def _check_output(config: RsaSettings, output: Path) -> None:
    text = yaml.safe_dump(config.model_dump(mode="json", exclude={"device"}), sort_keys=False, allow_unicode=True)
    there = check_folder(output, "config.yaml", "an analysis'")
    if there is not None and read_text(there, "settings") != text:
        raise StoreError(f"output {output} holds another analysis; choose another folder with --output")
    write_text(output / "config.yaml", text)


def _model_rdms(
    config: RsaSettings, stimuli: Path, ids: list[str], output: Path, progress: Progress
) -> tuple[list[tuple[str, str]], FloatArray]:
    """Return the names (network, layer) and their RDMs (n_layers, n_pairs)."""
    names, rdms = [], []
    for network in config.networks:
        folder = output / "features" / _folder(network)
        extraction = ExtractionSettings(spatial_pool=config.spatial_pool)
        wanted = FolderExtraction(stimuli, network, extraction, config.seed, config.device)
        records = extract_folder(wanted, folder, progress=progress)
        extracted = [str(record["stimulus_id"]) for record in records]
        check_same_stimuli(f"features of {network.shown}", extracted, "the stimuli", ids)
        for layer in load(network, config.seed, config.device).layers:
            try:
                rdms.append(DISSIMILARITIES[config.dissimilarity](np.load(folder / f"{layer}.npy", mmap_mode="r")))
            except DataError as error:
                raise DataError(f"{network.shown} {layer}: {error}") from error
            names.append((network.shown, layer))
    return names, np.array(rdms)


def _write(config: RsaSettings, result: RsaResult, output: Path, measured: FloatArray, best: FloatArray) -> None:
    write_table(output, RSA_LAYERS, [asdict(row) for row in result.layers])
    bounds = {"lower": result.ceiling_low, "upper": result.ceiling_high, "comparison": config.comparison}
    write_json(output / "ceiling.json", bounds)
    write_json(output / "provenance.json", collect_provenance() | {"seed": config.seed, "device": config.device})
    from voxelcast.report.panels import draw_layers  # Matplotlib takes seconds to import

    draw_layers(
        output / "layers.png",
        [(row.network, row.layer, row.similarity, row.low, row.high) for row in result.layers],
        (result.ceiling_low, result.ceiling_high),
        config.comparison,
        {"measured, mean over subjects": measured.mean(axis=0), f"{result.best.network} {result.best.layer}": best},
    )
