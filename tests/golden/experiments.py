"""The golden experiments: settings as in experiment files, which between them use every setting there is.

Relative paths are relative to the folder of the datasets (`tests.golden.data`), from which voxelcast is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EXACT = 1e-12
DUAL = 1e-10  # recorded with himalaya, whose dual solution loses digits where penalties are small
FLOAT32 = 1e-5
"""For what torch trains in single precision, whose rounding is fed back for many steps."""
BFLOAT16 = 1e-3
"""For features of a network in bfloat16."""


@dataclass(frozen=True)
class Golden:
    """One experiment.

    Parameters
    ----------
    settings : dict
        Of the experiment file.
    data : tuple of str
        Datasets that have to be there.
    command : str
        ``run``, ``rsa``, or ``extract``.
    arguments : tuple of str
        Of the command, beside the experiment file and the output.
    slow : bool
    tolerance : float
        Numbers may differ by it, times the value where that is above 1.
    needs : tuple of str
        Packages without which it is skipped.
    """

    settings: Mapping[str, Any]
    data: tuple[str, ...]
    command: str = "run"
    arguments: tuple[str, ...] = ()
    slow: bool = False
    tolerance: float = EXACT
    needs: tuple[str, ...] = ()


def _energy(*layers: str, **more: Any) -> list[dict[str, Any]]:
    return [{"name": "voxelcast/motion_energy", "layers": list(layers), "input_size": 64, **more}]


def _small(*layers: str) -> list[dict[str, Any]]:
    normal = {"input_size": 24, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    return [{"name": "module:golden_networks:Still", "layers": list(layers), "version": "1", **normal}]


def _settings(dataset: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "dataset": dict(dataset),
        "networks": _energy("colour", "static.4"),
        "frames": {"every": 3},
        "compress": {"components": 5},
        "encoders": ["ridge"],
        "folds": {"n": 3},
        "interval": {"resamples": 100},
        "significance": {"permutations": 40},
        "compute": {"workers": 1},
    }
    return base | changes


IMAGES = {"kind": "folder", "root": "images", "subjects": ["ann"]}
CLIPS = {"kind": "folder", "root": "clips"}
CAT = {
    "kind": "folder",
    "root": "images",
    "stimuli": "stimuli",
    "responses": {"cat": "cat.npy"},
    "axes": ["voxel", "stimulus", "repetition"],
    "stimulus_ids": "ids.txt",
    "roi_table": "areas.csv",
    "split": "parts.csv",
    "unit": "beta",
}
SERIES = {
    "kind": "time_series",
    "root": "series",
    "bold": "{subject}/{subject}_{run}_bold.nii",
    "tr": 2.0,
    "nuisance": "{subject}/{run}_motion.txt",
    "masks": {"four": "atlas.nii[2]", "all_voxels": "mask.nii"},
}

EXPERIMENTS: dict[str, Golden] = {
    # Every encoder with a path, all settings tried.
    "exact_encoders": Golden(
        _settings(
            IMAGES,
            networks=_energy("colour", label="blobs"),
            encoders=[
                *("pls", "ridge", "ols", "omp", "elastic_net", "lasso"),
                *("pls_canonical", "cca", "ridge_per_voxel"),
            ],
            significance={"permutations": 100, "alpha": 0.2},
            interval={"resamples": 150, "level": 0.8},
            seed=7,
        ),
        ("images",),
    ),
    # All that repeats the code of 2021.
    "as_in_2021": Golden(
        _settings(
            CLIPS,
            networks=_energy("colour", "motion.2", label="blobs"),
            frames={"every": 2, "first": 1},
            compress={"components": 4, "fit": "once", "scale": True, "whiten": True, "scale_apart": True},
            encoders=["pls_scaled", "pls_2021", "pls_canonical_2021", "cca_2021", "elastic_net_2021"],
            search={"metric": "pooled_2021"},
            folds={"n": 3, "nested": False, "by": "stimulus_2021"},
        ),
        ("clips",),
    ),
    "bayes_voxels_stacking": Golden(
        _settings(
            IMAGES | {"subjects": ["ann", "bob"]},
            encoders=["ridge", "pls"],
            search={"method": "bayes", "sampler": "tpe", "trials": 6, "prune": True},
            selection={"per": "voxel", "rule": "one_standard_error"},
            ensemble={"method": "stacking"},
            folds={"n": 4},
            seed=1,
        ),
        ("images",),
    ),
    "joint_pools_average": Golden(
        _settings(
            CLIPS,
            pool=["mean", "median", "bold", "pc1"],
            search={"method": "random", "trials": 8, "joint": True, "metric": "pooled_2021"},
            ensemble={"method": "average", "top": 2},
            seed=3,
        ),
        ("clips",),
    ),
    "grid_stacking_free_joined": Golden(
        _settings(
            IMAGES,
            encoders=["ridge", "elastic_net"],
            search={"method": "grid", "trials": 4},
            selection={"rule": "one_standard_error"},
            ensemble={"method": "stacking", "per": "roi", "sum_to_one": False, "joined": True},
            significance={"permutations": 0},
        ),
        ("images",),
    ),
    "kernels_random": Golden(
        _settings(
            IMAGES,
            encoders=["kernel_ridge_linear", "kernel_ridge_polynomial", "kernel_ridge_rbf"],
            search={"method": "random", "trials": 4, "prune": True},
            ensemble={"method": "stacking", "per": "roi"},
            seed=2,
        ),
        ("images",),
    ),
    "banded_divided": Golden(
        _settings(
            IMAGES,
            encoders=["ridge"],
            networks=_energy("colour", "static.4", "static.5"),
            ensemble={"method": "banded_ridge", "draws": 4},
            variance_partitioning={"groups": {"hue": ["colour"], "edges": ["static.*"]}, "draws": 3},
            seed=4,
        ),
        ("images",),
        tolerance=DUAL,
    ),
    "shared_repeated": Golden(
        _settings(
            IMAGES | {"subjects": "all", "groups": "pairs.csv"},
            encoders=["ridge", "pls"],
            share={"components": 2},
            folds={"n": 3, "repeats": 2},
            seed=5,
        ),
        ("images",),
    ),
    "trunks": Golden(
        _settings(
            IMAGES | {"subjects": "all"},
            trunks={
                "joint": {"kind": "linear", "width": 6},
                "own": {"kind": "linear", "subjects": "each", "streams": ["colour"]},
                "deep": {"kind": "mlp", "width": 6, "rank": 2, "shared_head": True, "subject_dropout": 0.2}
                | {"epochs": 4, "batch": 8, "learning_rate": 0.01, "weight_decay": 0.2, "unseen": ["bob"]},
            },
            ensemble={"method": "average", "top": 2},
            significance={"permutations": 0},
            seed=10,
        ),
        ("images",),
        tolerance=FLOAT32,
    ),
    "trunks_over_time": Golden(
        _settings(
            SERIES | {"events": "{run}_events.tsv"},
            networks=[],
            features=["conditions", "onoff"],
            delays=[0],
            compress={"method": "none"},
            trunks={
                "both": {"kind": "temporal", "width": 4, "kernel": 5, "windows": 40, "window": 12, "rois": "all"}
                | {"epochs": 3, "learning_rate": 0.02},
                "behind": {"kind": "temporal", "width": 4, "kernel": 4, "causal": True, "windows": 40, "epochs": 2},
            },
            folds={"by": "group", "nested": False},
        ),
        ("series",),
        tolerance=FLOAT32,
    ),
    "group_folds_divided": Golden(
        _settings(
            CAT | {"groups": "runs.csv", "rois": ["V4", "V1"]},
            folds={"by": "group"},
            networks=_energy("colour", "static.4", "static.5"),
            variance_partitioning={
                "groups": {"hue": "colour", "coarse": "static.5", "fine": "voxelcast/motion_energy:static.4"},
                "draws": 0,
            },
        ),
        ("images",),
    ),
    "experts_in_given_folds": Golden(
        _settings(
            CAT | {"groups": "runs.csv", "folds": "folds.csv", "rois": ["V4", "V1"]},
            folds={"unit": "stimulus"},
            ensemble={"method": "experts", "experts": ["V4"]},
        ),
        ("images",),
    ),
    "atlases": Golden(
        _settings(
            IMAGES,
            selection={"per": "voxel"},
            ensemble={"method": "atlases", "atlases": [2, 3]},
            folds={"n": 4},
            seed=9,
        ),
        ("images",),
    ),
    "not_nested_average_joined": Golden(
        _settings(
            CAT | {"rois": "V4"},
            encoders=["pls", "ridge"],
            selection={"per": "voxel"},
            ensemble={"method": "average", "top": 2, "joined": True},
            folds={"n": 3, "nested": False, "repeats": 2},
            significance={"permutations": 0},
            seed=6,
        ),
        ("images",),
    ),
    "once_scaled_most_shuffled": Golden(
        _settings(
            CLIPS,
            frames={"n": 4},
            spatial_pool="pyramid(1, 2)",
            compress={"method": "pca", "components": "max", "fit": "once", "scale": True},
            control="shuffle",
            shuffles=5,
            seed=8,
        ),
        ("clips",),
    ),
    "fewer_components": Golden(
        _settings(
            CLIPS,
            networks=_energy("motion.4", "static.5"),
            frames={"hz": 3},
            spatial_pool="grid(2)",
            pool="std",
            compress={"components": 20, "fewer": "allow"},
            selection={"per": "voxel"},
        ),
        ("clips",),
    ),
    "random_projection": Golden(
        _settings(
            CLIPS,
            networks=_energy("colour"),
            pool=["max", "hrf(clips/response.csv)", "none"],
            compress={"method": "random_projection", "components": 6, "scale": True},
            search={"method": "bayes", "trials": 5, "joint": True},
            seed=9,
        ),
        ("clips",),
    ),
    "scaling": Golden(
        _settings(
            IMAGES,
            networks=_energy("colour"),
            compress={"method": "mds", "components": 4, "options": {"iterations": 40}},
            folds={"n": 3, "nested": False},
        ),
        ("images",),
    ),
    "uncompressed": Golden(
        _settings(
            IMAGES,
            spatial_pool="mean",
            pool="bold(peak=5, under=12)",
            compress={"method": "none"},
            encoders=["ridge_per_voxel", "pls"],
            ensemble={"method": "stacking"},
        ),
        ("images",),
    ),
    "incomplete_data": Golden(
        _settings(
            {"kind": "folder", "root": "broken", "responses": {"eve": "holes.npy", "ann": "responses/ann.npy"}},
            invalid_voxels="exclude",
            broken_stimuli="skip",
            selection={"per": "voxel"},
        ),
        ("broken",),
    ),
    "brain_masks": Golden(
        _settings(
            {
                "kind": "folder",
                "root": "images",
                "responses": {"dan": "dan.nii"},
                "masks": {"one": "atlas.nii[1]", "two": "atlas.nii[2]"},
            },
            networks=_energy("colour"),
            encoders=["pls"],
        ),
        ("images",),
    ),
    "series_events": Golden(
        _settings(
            SERIES
            | {
                "events": "{run}_events.tsv",
                "drift": "polynomial(2)",
                "standardise": False,
                "drop_first": 3,
                "drop_last": 2,
                "test_runs": ["run10"],
                "runs": ["run1", "run2", "run10"],
                "unit": "percent",
                "subjects": "ann",
            },
            networks=[],
            features=["conditions", "onoff"],
            delays=[1, 2, 3],
            compress={"method": "none"},
            folds={"n": 3, "nested": False, "by": "group"},
        ),
        ("series",),
    ),
    "series_movies": Golden(
        _settings(
            SERIES
            | {
                "events": "{run}_events.tsv",
                "movies": "{run}.mp4",
                "masks": {"four": "atlas.nii[2]"},
                "rois": "four",
                "nuisance": "{subject}/{run}_confounds.tsv",
                "nuisance_columns": ["x", "y"],
            },
            networks=_energy("colour"),
            features="conditions",
            delays=[0, 2],
            frames={"every": 1},
            compress={"components": 2},
            encoders=["ridge", "pls"],
            search={"method": "random", "joint": True, "trials": 6},
            ensemble={"method": "stacking"},
            folds={"by": "group"},
            variance_partitioning={"groups": {"shown": "dataset", "seen": "voxelcast/motion_energy"}, "draws": 2},
        ),
        ("series",),
    ),
    "series_streams": Golden(
        _settings(
            {
                "kind": "time_series",
                "root": "series",
                "tr": 2.0,
                "bold": "{subject}/{run}_regions.txt",
                "columns": ["left", "right"],
                "group_mean": True,
                "drift": "none",
            },
            networks=[],
            features={
                "words": {"words": "series/{run}_words.tsv", "of": ["rate", "length"], "start": 0.5},
                "loudness": {"file": "series/{run}_loudness.npy", "rate": 1.0},
            },
            delays={"words": "double_gamma+derivative", "others": [-1, 0, 1, 2]},
            compress={"method": "none", "scale": True},
            ensemble={"method": "stacking", "joined": True},
            folds={"by": "segment", "n": 4, "gap": 2},
        ),
        ("series",),
    ),
    "simulated": Golden(
        _settings(
            {"kind": "simulated", "root": "simulated", "subjects": ["sub02", "sub01"], "rois": ["EBA", "V1"]},
            frames={"every": 2},
            networks=_energy("colour", "motion.4"),
            encoders=["pls"],
        ),
        ("simulated",),
    ),
    "algonauts2021": Golden(
        _settings(
            {
                "kind": "algonauts2021",
                "root": "algonauts2021",
                "subjects": "sub02",
                "rois": ["EBA"],
                "n_train": 60,
                "n_test": 12,
            },
            networks=_energy("colour"),
            frames={"every": 6},
            encoders=["pls"],
        ),
        ("algonauts2021",),
    ),
    "algonauts2021_full": Golden(
        _settings(
            {"kind": "algonauts2021", "root": "algonauts2021", "track": "full", "subjects": ["sub01"]},
            networks=_energy("colour"),
            frames={"every": 6},
        ),
        ("algonauts2021",),
    ),
    "algonauts2023": Golden(
        _settings(
            {"kind": "algonauts2023", "root": "algonauts2023", "subject": "subj02", "rois": ["V1", "rh_EBA"]},
            networks=_energy("colour"),
        ),
        ("algonauts2023",),
    ),
    "algonauts2025": Golden(
        _settings(
            {
                "kind": "algonauts2025",
                "root": "algonauts2025",
                "movies": ["s1", "bourne"],
                "subjects": ["sub-01", "sub-02"],
                "rois": ["few", "two"],
                "roi_table": "areas.csv",
                "drop_first": 3,
                "drop_last": 4,
            },
            networks=_energy("colour"),
            frames={"every": 4},
            delays=[2, 3, 4],
            folds={"by": "group"},
        ),
        ("algonauts2025",),
        slow=True,
    ),
    "algonauts2025_no_test": Golden(
        _settings(
            {
                "kind": "algonauts2025",
                "root": "algonauts2025",
                "movies": ["figures", "s1"],
                "subjects": "sub-02",
                "held_out": "none",
                "rois": "two",
                "roi_table": "areas.csv",
            },
            networks=_energy("colour"),
            frames={"every": 4},
            delays=[3],
            folds={"by": "group"},
            ensemble={"method": "stacking"},
        ),
        ("algonauts2025",),
        slow=True,
    ),
    "bold_moments": Golden(
        _settings(
            {
                "kind": "bold_moments",
                "root": "bold_moments",
                "files": "roi",
                "subjects": ["sub-02"],
                "rois": ["V1", "lEBA"],
            },
            networks=_energy("colour"),
            frames={"every": 6},
        ),
        ("bold_moments",),
        slow=True,
    ),
    "bold_moments_a": Golden(
        _settings(
            {
                "kind": "bold_moments",
                "root": "bold_moments",
                "version": "A",
                "voxels": "reliable",
                "tr": 4,
                "subjects": ["sub-01"],
                "rois": ["V1", "EBA"],
            },
            networks=_energy("colour"),
            frames={"every": 6},
        ),
        ("bold_moments",),
        slow=True,
    ),
    "bold_moments_places": Golden(
        _settings(
            {
                "kind": "bold_moments",
                "root": "bold_moments",
                "files": "whole_brain",
                "subjects": ["sub-01"],
                "rois": ["rEBA", "V2"],
            },
            networks=_energy("colour"),
            frames={"every": 6},
        ),
        ("bold_moments",),
        slow=True,
    ),
    "bold_moments_grayordinates": Golden(
        _settings(
            {
                "kind": "bold_moments",
                "root": "bold_moments",
                "template": "fsLR32k",
                "subjects": ["sub-01"],
                "rois": ["left", "subcortex"],
            },
            networks=_energy("colour"),
            frames={"every": 6},
        ),
        ("bold_moments",),
        slow=True,
    ),
    "bold_moments_surface": Golden(
        _settings(
            {
                "kind": "bold_moments",
                "root": "bold_moments",
                "template": "fsaverage",
                "subjects": ["sub-02"],
                "rois": ["right"],
            },
            networks=_energy("colour"),
            frames={"every": 6},
        ),
        ("bold_moments",),
        slow=True,
    ),
    "boosted_trees": Golden(
        _settings(
            IMAGES | {"subjects": "bob"},
            networks=_energy("colour"),
            encoders=["boosted_trees"],
            search={"method": "random", "trials": 1},
            folds={"n": 3, "nested": False},
            significance={"permutations": 0},
        ),
        ("images",),
        slow=True,
    ),
    "gaussian_process": Golden(
        _settings(
            IMAGES | {"subjects": "bob"},
            networks=_energy("colour"),
            search={"method": "bayes", "sampler": "gp", "trials": 4},
            folds={"n": 3, "nested": False},
            significance={"permutations": 0},
        ),
        ("images",),
        slow=True,
    ),
    "mlp": Golden(
        _settings(
            IMAGES | {"subjects": "bob"},
            networks=_energy("colour"),
            encoders=["mlp"],
            search={"method": "random", "trials": 1},
            folds={"n": 3, "nested": False},
            significance={"permutations": 0},
        ),
        ("images",),
        slow=True,
        tolerance=FLOAT32,
    ),
    "autoencoder": Golden(
        _settings(
            IMAGES | {"subjects": "bob"},
            networks=_energy("colour"),
            compress={"method": "autoencoder", "components": 3, "options": {"epochs": 4, "hidden": 8}},
            folds={"n": 3, "nested": False},
        ),
        ("images",),
        tolerance=FLOAT32,
    ),
    # Encoders that are trained, on a network of one's own.
    "readouts": Golden(
        _settings(
            CAT | {"rois": ["V4"]},
            networks=_small("conv"),
            encoders=["ridge", "readout"],
            readout={
                **{"places": "point", "select_layers": True, "time": "learned", "side": 2, "epochs": 3, "batch": 3},
                **{"rate": 0.01, "places_rate": 5.0, "decay": 0.2, "channel_dropout": 0.2, "loss": "noise_weighted"},
                **{"average": "soup", "patience": 2, "seeds": 2, "variants": [{"epochs": 2}, {}], "apart": True},
            },
            folds={"n": 4, "inner": 2},
            ensemble={"method": "softmax", "temperature": 0.2, "compare": True},
            significance={"permutations": 0},
        ),
        ("images", "clips"),
        tolerance=FLOAT32,
    ),
    "finetuned": Golden(
        _settings(
            IMAGES,
            networks=_small("conv", "act"),
            encoders=["finetuned"],
            readout={"loss": "pearson", "average": "tail"},
            finetuned={
                **{"places": "point", "select_layers": True, "time": "learned", "side": 2, "epochs": 3, "batch": 3},
                **{"rate": 0.01, "places_rate": 5.0, "decay": 0.2, "channel_dropout": 0.2, "loss": "pearson"},
                **{"average": "tail", "patience": 2, "seeds": 2, "variants": [{"shift": 2}], "apart": True},
                **{"release": "half", "backbone_rate": 1e-3, "layer_decay": 0.5, "lora": 2, "shift": 1},
                **{"shift_per": "batch", "light": 0.1, "bfloat16": False},
            },
            folds={"n": 3, "inner": 0},
            ensemble={"method": "mean"},
            significance={"permutations": 0},
        ),
        ("images", "clips"),
        tolerance=FLOAT32,
    ),
    "torch_networks": Golden(
        _settings(
            CLIPS,
            networks=[
                {
                    "name": "torchvision/squeezenet1_1",
                    "layers": ["features.3", "features.5"],
                    "weights": "random",
                    "input_size": 48,
                    "mean": [0.4, 0.5, 0.6],
                    "std": [0.2, 0.3, 0.4],
                    "label": "squeeze",
                },
                {
                    "name": "module:golden_networks:Small",
                    "layers": ["act"],
                    "input_size": 24,
                    "mean": [0.5, 0.5, 0.5],
                    "std": [0.25, 0.25, 0.25],
                    "takes": "clip",
                    "clip_length": 4,
                    "clip_stride": 2,
                    "licence": "MIT",
                    "version": "1",
                },
                {
                    "name": "module:golden_networks:Still",
                    "layers": ["act"],
                    "input_size": 24,
                    "mean": [0.5, 0.5, 0.5],
                    "std": [0.25, 0.25, 0.25],
                    "takes": "frames",
                    "weights": "random",
                },
            ],
            frames={"every": 2},
            spatial_pool="mean",
            compress={"components": 3},
            seed=11,
        ),
        ("clips",),
        slow=True,
        tolerance=FLOAT32,
    ),
    "tensor_float32": Golden(
        _settings(
            CLIPS,
            networks=[
                {
                    "name": "torchvision/squeezenet1_1",
                    "layers": "features.3",
                    "weights": "random",
                    "input_size": 48,
                    "precision": "tf32",
                }
            ],
            frames={"n": 1},
            spatial_pool="mean",
        ),
        ("clips",),
        slow=True,
        tolerance=FLOAT32,
    ),
    "bfloat16": Golden(
        _settings(
            CLIPS,
            networks=[
                {
                    "name": "torchvision/squeezenet1_1",
                    "layers": "features.3",
                    "weights": "random",
                    "input_size": 48,
                    "precision": "bfloat16",
                }
            ],
            frames={"n": 1},
            spatial_pool="mean",
        ),
        ("clips",),
        slow=True,
        tolerance=BFLOAT16,
    ),
    "noisy_network": Golden(
        _settings(
            CLIPS,
            networks=[
                {
                    "name": "vonenet/cornets",
                    "layers": "bottleneck",
                    "weights": "random",
                    "input_size": 48,
                    "noise_seed": 3,
                }
            ],
            frames={"n": 1},
            spatial_pool="mean",
        ),
        ("clips",),
        slow=True,
        tolerance=FLOAT32,
    ),
    "rsa": Golden(
        {
            "stimuli": "rdms/stimuli",
            "rdms": "rdms/rdms.npy",
            "networks": _energy("colour", "static.4"),
            "interval": {"resamples": 100},
        },
        ("rdms",),
        command="rsa",
    ),
    "rsa_euclidean": Golden(
        {
            "stimuli": "rdms/stimuli",
            "rdms": "rdms/rdms.npy",
            "networks": _energy("colour", "static.5"),
            "dissimilarity": "euclidean",
            "comparison": "kendall_tau_a",
            "spatial_pool": "grid(2)",
            "interval": {"resamples": 120, "level": 0.9},
            "resample_subjects": False,
            "significance": {"permutations": 100, "alpha": 0.1},
            "seed": 2,
        },
        ("rdms",),
        command="rsa",
    ),
    "rsa_pearson": Golden(
        {
            "stimuli": "rdms/stimuli",
            "rdms": "rdms/rdms.npy",
            "networks": _energy("colour"),
            "comparison": "pearson",
            "interval": {"resamples": 100},
        },
        ("rdms",),
        command="rsa",
    ),
    "extract": Golden(
        {},
        ("files",),
        command="extract",
        arguments=(
            *("files", "--layers=colour,motion.5", "--hz=3", "--pool=max", "--spatial-pool=grid(2)", "--input-size=64"),
            *("--recursive", "--keep-suffix", "--broken=skip"),
        ),
    ),
}
