"""Output folders such as an experiment leaves, with made-up numbers: for tests and examples of what reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import pandas as pd

from voxelcast.results import schema
from voxelcast.results.read import Results, read_results
from voxelcast.results.write import EXAMPLE_FILE, VOXEL_FILE, pair_file
from voxelcast.scoring.variance_partitioning import partition_variance

ROIS: Final = ("LOC", "FFA", "STS", "EBA", "PPA", "V1", "V2", "V3", "V4")


@dataclass(frozen=True)
class MadeUp:
    """What an output folder of made-up numbers should hold.

    Parameters
    ----------
    subjects, rois, networks : sequence of str
    n_layers, n_settings, n_voxels : int
        Layers of each network, candidates of each layer (half of them PLS, half ridge) and voxels of each ROI.
    ceilings, held_out : bool
        Whether there are noise ceilings, and scores on held-out stimuli.
    method : {"exact", "bayes"}
        Of the search.
    name : str
    bonus : float
        Added to every score.
    seed : int
    groups : sequence of str
        Of layers, between which variance is divided; the last explains less than nothing.
    partition_ceiling : float
        Noise ceiling (R²) of that.
    """

    subjects: Sequence[str] = ("sub01",)
    rois: Sequence[str] = ("V1",)
    networks: Sequence[str] = ("torchvision/resnet18",)
    n_layers: int = 3
    n_settings: int = 5
    n_voxels: int = 40
    ceilings: bool = True
    held_out: bool = False
    method: str = "exact"
    name: str = "synthetic-v4"
    bonus: float = 0.0
    seed: int = 0
    groups: Sequence[str] = ()
    partition_ceiling: float = 0.5


def example_results(**made_up: Any) -> Results:
    """Return results with made-up numbers, as `read_results` returns those of an experiment.

    Parameters
    ----------
    **made_up
        Fields of `MadeUp`.

    Examples
    --------
    >>> example_results(subjects=("ann", "bob"), rois=("V1", "EBA")).subjects
    ('ann', 'bob')
    """
    with TemporaryDirectory() as folder:
        return read_results(write_output(Path(folder) / "output", **made_up))


def write_output(output: Path, **made_up: Any) -> Path:
    """Write every file of an output folder; keywords are fields of `MadeUp`."""
    made = MadeUp(**made_up)
    _write_tables(output, made)
    if made.groups:
        _write_partition(output, made)
    return output


def _write_partition(output: Path, made: MadeUp) -> None:
    """Divide variance into parts that add up."""
    rng = np.random.default_rng(0)
    groups = made.groups
    sets = [frozenset(some) for size in range(1, len(groups) + 1) for some in combinations(groups, size)]
    rows, of_groups = [], []
    for subject in made.subjects:
        for roi in made.rois:
            worth = dict(zip(groups, [*rng.uniform(0.08, 0.2, len(groups) - 1), -0.01], strict=True))
            total = {one: sum(worth[name] for name in groups if name in one) for one in sets}
            r2 = {one: np.array([total[one] * 0.8 ** (len(one) - 1)]) for one in sets}
            parts = [("model", one, r2[one][0]) for one in sets]
            divided = partition_variance(r2)
            parts += [("unique" if len(one) == 1 else "shared", one, divided[one][0]) for one in sets]
            for kind, one, value in parts:
                name = "+".join(group for group in groups if group in one)
                rows.append((subject, roi, kind, name, value, value - 0.02, value + 0.03, 40, made.partition_ceiling))
            for number, group in enumerate(groups):
                lead = worth[group] - max(other for name, other in worth.items() if name != group)
                lesion = worth[group] / 2
                ends = (lead, lead - 0.02, lead + 0.02, lesion, lesion - 0.01, lesion + 0.01)
                of_groups.append((subject, roi, group, *ends, 10 - number, 40))
    _write_csv(output, schema.VARIANCE_PARTITIONING, rows)
    _write_csv(output, schema.GROUPS, of_groups)


def _write_csv(output: Path, table: schema.Table, rows: list[Any], n_folds: int = 0) -> None:
    pd.DataFrame(rows, columns=list(table.names(n_folds=n_folds))).to_csv(output / table.file, index=False)


def _write_tables(output: Path, made: MadeUp) -> None:
    subjects, rois, networks = made.subjects, made.rois, made.networks
    n_layers, n_settings, n_voxels = made.n_layers, made.n_settings, made.n_voxels
    rng = np.random.default_rng(made.seed)
    (output / "voxels").mkdir(parents=True)
    layers = [f"layer{i // 6 + 1}.{i % 6}.conv" for i in range(n_layers)]
    n_pls = max(1, n_settings // 2)
    settings = [("pls", f"n_components={k + 1}") for k in range(n_pls)]
    settings += [("ridge", f"relative_alpha={a:.4g}") for a in np.logspace(-4, 3, n_settings - n_pls)]
    scores: list[Any] = []
    search: list[Any] = []
    weights: list[Any] = []
    examples: dict[str, Any] = {}
    for index_of_roi, roi in enumerate(rois):
        for subject in subjects:
            level, peak = 0.12 + 0.2 * rng.random(), (index_of_roi + rng.normal(0, 0.6)) / len(rois) * n_layers
            best: tuple[float, str, str, str, str] = (-np.inf, "", "", "", "")
            for index_of_network, network in enumerate(networks):
                for depth, layer in enumerate(layers):
                    for index, (encoder, hyper) in enumerate(settings):
                        x = (index % n_pls) / max(n_pls - 1, 1)
                        score = level * np.exp(-(((depth - peak) / n_layers) ** 2) * 3) * (0.6 + 1.4 * x - 1.1 * x * x)
                        score = round(float(score + made.bonus + 0.02 * index_of_network + rng.normal(0, 0.003)), 6)
                        folds = np.round(score + rng.normal(0, 0.02, 2), 6)
                        search.append((subject, roi, network, "random", layer, encoder, hyper, score, *folds))
                        best = max(best, (score, network, layer, encoder, hyper))
            r = rng.normal(best[0] * 0.95, 0.1, n_voxels)
            ceiling = np.clip(rng.normal(0.45, 0.1, n_voxels), 0.05, 0.95)
            test = r + rng.normal(0, 0.03, n_voxels)
            arrays: dict[str, Any] = {"pearson_r": r}
            share = {"reliability": ceiling**2, "reliability_se": np.full(n_voxels, 0.001)}
            arrays |= {"noise_ceiling_r": ceiling, **share} if made.ceilings else {}
            arrays |= {"held_out_r": test} if made.held_out else {}
            np.savez(pair_file(output, VOXEL_FILE, (subject, roi)), **arrays)
            m = float(r.mean())
            measured = rng.standard_normal((60, 3))
            predicted = 0.5 * measured + rng.standard_normal((60, 3))
            quantile = np.array([1, 0.75, 0.5])
            of_pair = {"voxel": np.array([3, 1, 2]), "quantile": quantile, "score": np.quantile(r, quantile)}
            of_pair |= {"measured": measured, "predicted": predicted}
            examples |= {f"{schema.pair_name(subject, roi)}/{name}": array for name, array in of_pair.items()}
            for fold in ("all", "1"):
                for layer, weight in zip(layers, rng.dirichlet(np.ones(n_layers)), strict=True):
                    chosen = (networks[0], "random", layer, "ridge", "relative_alpha=1", best[0])
                    weights.append((subject, roi, fold, *chosen, weight, n_voxels))
            limit = (ceiling.mean(), m / ceiling.mean()) if made.ceilings else (np.nan, np.nan)
            scores.append(
                (subject, roi, best[1], "random", best[2], best[3], best[4], n_voxels, best[0], m, m - 0.03, m + 0.03,
                 "nested_cv", 0, int((r > 0.1).sum()), *limit,
                 *((test.mean(), test.mean() - 0.05, test.mean() + 0.05) if made.held_out else [np.nan] * 3),
                 limit[0] + 0.1 if made.held_out else np.nan)
            )  # fmt: skip

    np.savez(output / EXAMPLE_FILE, **examples)
    patterns = [(roi, f"{k:04d}.png", 0.9 - 0.01 * k, len(subjects)) for roi in rois for k in range(20)]
    _write_csv(output, schema.STIMULUS_SCORES, patterns)
    depths = [(i + 1) / (n_layers + 1) for i in range(n_layers)]
    sizes = [(depth, 64 * 56 * 56 // (i + 1), 50, 0.9 - 0.02 * i) for i, depth in enumerate(depths)]
    described = [(name, layer, *size) for name in networks for layer, size in zip(layers, sizes, strict=True)]
    excluded = [("stimulus", "", "", "0007_broken.mp4", "the container claims 90 frames, 31 decoded")]
    excluded += [("voxel", subjects[0], rois[0], str(i), "constant responses") for i in range(12)]
    needed = replace(schema.SCORES, columns=tuple(column for column in schema.SCORES.columns if column.needed))
    _write_csv(output, needed, scores)
    _write_csv(output, schema.WEIGHTS, weights)
    _write_csv(output, schema.SEARCH, search, n_folds=2)
    _write_csv(output, schema.LAYERS, described)
    _write_csv(output, schema.EXCLUSIONS, excluded)
    settings_text = f"interval:\n  level: 0.95\nfolds:\n  n: 10\n  nested: true\nsearch:\n  method: {made.method}\n"
    (output / "config.yaml").write_text(f"name: {made.name}\nseed: 0\n{settings_text}")
    notes = ["weights of torchvision/resnet18 are random (seed 0)", "PCA was fitted once on all training stimuli"]
    (output / "notes.json").write_text(json.dumps(notes))
    steps = {
        f"extract/{network.replace('/', '_')}-0123": {"key": "0123", "seconds": 84.2, "peak_mb": 1234.5}
        for network in networks
    }
    steps |= {f"fit/{s}_{r}-4567": {"key": "4567", "seconds": 1.5, "peak_mb": 321.0} for s in subjects for r in rois}
    provenance = {
        "voxelcast": "0.1.0",
        "git": {"commit": "0123abc", "changed": False},
        "packages": {"numpy": "2.4.6", "torch": "2.15.0"},
        "weights": {"torchvision/resnet18": "random, seed 0"},
        "seed": 0,
        "device": "cpu",
        "dataset": {"title": "Made-up responses", "citation": "Nobody (2026)", "licence": "CC0"},
        "time": "2026-01-02T03:04:05Z",
        "steps": steps,
    }
    (output / "provenance.json").write_text(json.dumps(provenance))
