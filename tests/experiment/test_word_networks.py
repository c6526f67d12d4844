"""Language models as features of the words of a series, against a loop over words and volumes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.experiment.miniature import read_table, run
from tests.networks.tiny_transformers import VOCABULARY, write_tiny
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import ConfigError, DataError, OptionError
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning.layers import extraction_steps
from voxelcast.experiment.settings_file import parse_config
from voxelcast.experiment.steps import tables
from voxelcast.experiment.steps.tables import TableJob, WordTable
from voxelcast.features.hrf import response_to_events
from voxelcast.store.steps import StepStore

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = [
    pytest.mark.usefixtures("in_process"),
    pytest.mark.filterwarnings("ignore::voxelcast.core.errors.VoxelcastWarning"),
]

RUNS, N, TR, CONTEXT, LAYER, START = ("one", "two", "three"), 40, 1.5, 3, 2, -4.0
Said = list[tuple[str, float, float]]


@pytest.fixture(scope="module")
def said() -> dict[str, Said]:
    """The words of each run, with onsets, from 4 s before its first volume on, and durations."""
    rng, found = np.random.default_rng(0), {}
    for name in RUNS:
        onsets = np.sort(rng.uniform(0, N * TR + 4, 90)).round(3)
        words = rng.choice(VOCABULARY[4:], 90).tolist()
        found[name] = list(zip(words, onsets.tolist(), rng.uniform(0.05, 2.5, 90).round(3).tolist(), strict=True))
    return found


@pytest.fixture(scope="module")
def states(said: dict[str, Said], root: Path) -> Callable[[str, int], FloatArray]:
    """What the model alone makes of each word of a run after those before it: the state of its own token."""
    model = transformers.AutoModel.from_pretrained(root / "gpt2", dtype=torch.float32).eval()

    def of(name: str, ahead: int = 0) -> FloatArray:
        words, found = [word for word, _, _ in said[name]], []
        for place in range(len(words)):
            before = words[max(place - CONTEXT, 0) : place]
            text = ["[CLS]", *before, words[place], *words[place + 1 : place + 1 + ahead], "[SEP]"]
            ids = torch.tensor([[VOCABULARY.index(word) for word in text]])
            with torch.no_grad():
                hidden = model(input_ids=ids, output_hidden_states=True).hidden_states[LAYER]
            found.append(hidden[0, 1 + len(before)].double().numpy())
        return np.stack(found)

    return of


@pytest.fixture(scope="module")
def root(said: dict[str, Said], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A listener to three runs, whose voxels follow the model's states through the response, and noise."""
    root = tmp_path_factory.mktemp("words")
    write_tiny("gpt2", root)
    for name, words in said.items():
        rows = [f"{onset},{long},{word}" for word, onset, long in words]
        (root / f"{name}.csv").write_text("\n".join(["onset,duration,word", *rows]))
        np.savetxt(root / f"ann_{name}.txt", np.random.default_rng(len(name)).standard_normal((N, 2)))
    return root


def plain(root: Path, words: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    network = {"name": f"hf:{root / 'gpt2'}", "layers": LAYER}
    source = {"words": str(root / "{run}.csv"), "network": network, "context": CONTEXT, "start": START} | (words or {})
    base = {
        "name": "words",
        "dataset": {"kind": "time_series", "root": str(root), "tr": TR, "bold": "{subject}_{run}.txt", "drift": "none"},
        "features": {"gpt2": source},
        "delays": [0],
        "compress": {"method": "none"},
        "encoders": ["ridge"],
        "folds": {"by": "group"},
        "significance": {"permutations": 0},
        "compute": {"workers": 1},
    }
    return base | changes


def opened(settings: dict[str, Any], tmp_path: Path) -> Plan:
    return Plan(parse_config(settings, "test"), StepStore(tmp_path / "steps"))


def by_brute_force(words: Said, values: FloatArray, at: str, combine: str) -> FloatArray:
    """Look at every volume and every word."""
    found = np.zeros((N, values.shape[1]))
    for volume in range(N):
        start, end, parts = volume * TR, (volume + 1) * TR, []
        for (_, onset, long), value in zip(words, values, strict=True):
            first, last = onset + START, onset + START + long
            if at == "whole":
                share = (min(last, end) - max(first, start)) / TR
                parts += [(first, share, value)] if share > 0 else []
            else:
                moment = last if at == "end" else first
                parts += [(moment, 1.0, value)] if start <= moment < end else []
        if parts and combine == "last":
            begun = [part for part in parts if part[0] >= start]
            found[volume] = max(begun, key=lambda part: part[0])[2] if begun else 0.0
        elif parts:
            total = sum(share * value for _, share, value in parts)
            found[volume] = total / (sum(share for _, share, _ in parts) if combine == "mean" else 1.0)
    return found


def computed(plan: Plan, rows: list[int]) -> FloatArray:
    table = plan.own_features["gpt2"]
    assert isinstance(table, WordTable)
    return table.features(np.array(rows))


@pytest.mark.parametrize(
    ("at", "combine", "ahead"),
    [("end", "sum", 0), ("onset", "mean", 2), ("whole", "sum", 0), ("whole", "mean", 0), ("end", "last", 0)],
)
def test_words_become_volumes_as_a_loop_over_both_says(
    at: str, combine: str, ahead: int, root: Path, said: dict[str, Said], states: Any, tmp_path: Path
) -> None:
    plan = opened(plain(root, {"at": at, "combine": combine, "ahead": ahead}), tmp_path)
    expected = by_brute_force(said["two"], states("two", ahead), at, combine)
    ids = [stimulus.stimulus_id for stimulus in plan.stimuli]
    some = [7, 8, 9, 22, 39]
    rows = [ids.index(f"two/tr{volume:04d}") for volume in some]
    np.testing.assert_allclose(computed(plan, rows), expected[some], atol=2e-5)


def test_the_response_is_taken_at_the_words_own_times(root: Path, said: Any, states: Any, tmp_path: Path) -> None:
    plan = opened(plain(root, delays="double_gamma+derivative"), tmp_path)
    ends = np.array([onset + START + long for _, onset, long in said["one"]])
    expected = response_to_events(ends, np.zeros(len(ends)), states("one"), (N, TR), "double_gamma+derivative")
    ids = [stimulus.stimulus_id for stimulus in plan.stimuli]
    rows = [ids.index(f"one/tr{volume:04d}") for volume in (30, 31)]
    np.testing.assert_allclose(computed(plan, rows), expected[30:32], atol=2e-5)
    assert plan.own_features["gpt2"].shape == (3 * N, 32)


def test_a_model_reads_only_the_words_that_a_shard_needs(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxelcast.networks import text

    read: list[int] = []
    original = text.context_features

    def counted(network: Any, words: Any, **options: Any) -> Any:
        read.append(len(words))
        return original(network, words, **options)

    monkeypatch.setattr(text, "context_features", counted)
    computed(opened(plain(root), tmp_path), [0, 1])
    assert 0 < sum(read) < 12


def test_what_counts_are_weights_words_and_settings_not_names(root: Path, tmp_path: Path) -> None:
    def keys(settings: dict[str, Any]) -> dict[tuple[str, ...], str]:
        steps = extraction_steps(opened(settings, tmp_path))["features"].train
        return {job.ids: step.step_id.key for step in steps if isinstance(job := step.job, TableJob)}

    first = keys(plain(root))
    other = tmp_path / "other"
    shutil.copytree(root, other)
    assert keys(plain(root) | {"features": plain(other)["features"]}) == first
    text = (other / "two.csv").read_text()
    (other / "two.csv").write_text(text.replace("dog", "cat", 1))
    changed = keys(plain(root) | {"features": plain(other)["features"]})
    of_two = {ids for ids in first if any(one.startswith("two") for one in ids)}
    assert 0 < len(of_two) < len(first)
    assert {ids for ids in first if first[ids] != changed[ids]} == of_two
    network = plain(root)["features"]["gpt2"]["network"]
    changes = [
        {"context": 4},
        {"ahead": 1},
        *({"network": network | one} for one in ({"layers": 1}, {"weights": "random"})),
    ]
    for change in changes:
        assert not set(keys(plain(root, change)).values()) & set(first.values()), change


def test_a_transcript_that_changes_meanwhile_stops_the_run(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(root, other)
    plan = opened(plain(other), tmp_path)
    step = extraction_steps(plan)["features"].train[0]
    (other / "one.csv").write_text("onset,duration,word\n3,1,dog\n")
    with pytest.raises(DataError, match="features gpt2 changed while the experiment ran"):
        step.job.run(None, None)  # type: ignore[arg-type]


@pytest.mark.slow
def test_an_experiment_finds_the_voxels_of_a_language_model(root: Path, said: Any, states: Any, tmp_path: Path) -> None:
    """One network with two layers is loaded once; the layer that drives the responses is chosen."""
    study = tmp_path / "study"
    shutil.copytree(root, study)
    rng = np.random.default_rng(1)
    mixture = rng.standard_normal((16, 3))
    for name in RUNS:
        ends = np.array([onset + START + long for _, onset, long in said[name]])
        signal = response_to_events(ends, np.zeros(len(ends)), states(name) @ mixture, (N, TR), "double_gamma")
        np.savetxt(study / f"ann_{name}.txt", signal / signal.std(axis=0) + 0.3 * rng.standard_normal((N, 3)))
    settings = plain(study, delays="double_gamma")
    source = settings["features"]["gpt2"]
    settings["features"]["embeddings"] = source | {"network": source["network"] | {"layers": 0}}
    run(settings, tmp_path / "out")
    (row,) = read_table(tmp_path / "out" / "scores.csv")
    assert (row["network"], row["layer"]) == ("features", "gpt2")
    assert row["weights"].startswith("default")
    assert float(row["score"]) > 0.6
    assert tables.network_of.cache_info().hits > 0


@pytest.mark.parametrize(
    ("words", "error", "match"),
    [
        ({"network": {"name": "voxelcast/mel", "layers": "mel"}}, OptionError, "must take text, without texts"),
        ({"network": {"name": "hf:{root}/gpt2", "layers": "hidden"}}, OptionError, "and have one layer; 'hf/gpt2'"),
        ({"context": -1}, ConfigError, r"features\.gpt2\.context: must be greater than or equal to 0; got -1"),
        ({"contexts": 1}, ConfigError, r"features\.gpt2\.contexts is not a setting; did you mean context\?"),
    ],
)
def test_what_is_wrong_is_said(
    words: dict[str, Any], error: type[Exception], match: str, root: Path, tmp_path: Path
) -> None:
    if "network" in words:
        words = {"network": words["network"] | {"name": words["network"]["name"].format(root=root)}}
    with pytest.raises(error, match=match):
        opened(plain(root, words), tmp_path)
