"""Trained encoders against planted truth: places, networks whose weights were moved, noise, and killed trainings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from voxelcast.core.errors import OptionError
from voxelcast.encoders.learned import training
from voxelcast.encoders.learned.head import Head, HeadSize
from voxelcast.encoders.learned.lora import add_lora
from voxelcast.encoders.learned.maps import Mapped, Resident
from voxelcast.encoders.learned.rebuilt import TrainedMembers, input_sizes, trained_shapes
from voxelcast.encoders.learned.settings import FinetunedSettings, ReadoutSettings
from voxelcast.encoders.learned.student import Lesson, Trained, shifted
from voxelcast.encoders.learned.training import Failed, train
from voxelcast.scoring.correlation import pearson_r

CPU = torch.device("cpu")
SIDE, Q = 6, 12


class Small(nn.Module):
    """Two convolutions, of pictures or clips; the maps of the second are read."""

    def __init__(self, clips: bool = False) -> None:
        super().__init__()
        self.clips = clips
        conv: Any = nn.Conv3d if clips else nn.Conv2d
        stride = (1, 2, 2) if clips else 2
        self.first, self.second = conv(3, 6, 3, padding=1), conv(6, 8, 3, stride=stride, padding=1)

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        values = pixels.permute(0, 4, 1, 2, 3) / 128 - 1
        if not self.clips:
            values = values[:, :, 0]
        found: torch.Tensor = self.second(self.first(values).relu()).relu()
        return [found.transpose(1, 2) if self.clips else found]

    def stages(self) -> list[list[nn.Parameter]]:
        return [list(self.parameters())]


def pictures(n: int, n_times: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, n_times, 12, 12, 3), generator=generator, dtype=torch.uint8)


def planted_places(q: int, side: int, seed: int = 1) -> np.ndarray:
    """Return Gaussians around places inside the map, (q, side, side), that sum to 1."""
    rng = np.random.default_rng(seed)
    at, axis = rng.uniform(1, side - 2, (q, 2)), np.arange(side)
    distance = np.square(axis[None, :, None] - at[:, :1, None]) + np.square(axis[None, None] - at[:, 1:, None])
    places = np.exp(-distance / 2)
    return np.asarray(places / places.sum(axis=(1, 2), keepdims=True))


def planted(clips: bool) -> tuple[Lesson, np.ndarray]:
    """Give responses planted on a network whose weights were moved, and the network as it was to learn them with."""
    torch.manual_seed(0)
    network, truth = Small(clips), Small(clips)
    truth.load_state_dict(network.state_dict())
    with torch.no_grad():
        for parameter in truth.parameters():
            parameter += 0.5 * parameter.std() * torch.randn_like(parameter)
        frames = pictures(800, 2 if clips else 1)
        maps = truth(frames.float())[0].double().numpy()
    maps = maps.mean(axis=1) if clips else maps
    maps = (maps - maps.mean(axis=(0, 2, 3), keepdims=True)) / maps.std(axis=(0, 2, 3), keepdims=True)
    weights = np.random.default_rng(2).standard_normal((Q, 8))
    Y = np.einsum("nchw,qhw,qc->nq", maps, planted_places(Q, SIDE), weights)
    size = HeadSize(((8, SIDE, SIDE),), (2 if clips else 0,), Q)

    def backbone() -> nn.Module:
        copy = Small(clips)
        copy.load_state_dict(network.state_dict())
        return copy

    return Lesson(Resident((frames,)), size, np.arange(600), Y[:600], CPU, backbone=backbone), Y


def held_out_r(trained: Trained, Y: np.ndarray) -> float:
    return float(pearson_r(Y[-200:], trained.predictions[-200:]).mean())


def maps_lesson(n: int = 500, noise: float = 0.3) -> tuple[Lesson, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((n + 200, 8, SIDE, SIDE)).astype(np.float16)
    places, weights = planted_places(Q, SIDE), rng.standard_normal((Q, 8))
    Y = np.einsum("nchw,qhw,qc->nq", maps.astype(float), places, weights)
    Y = Y / Y.std(axis=0) + noise * rng.standard_normal(Y.shape)
    size = HeadSize(((8, SIDE, SIDE),), (0,), Q)
    return Lesson(Resident((torch.from_numpy(maps),)), size, np.arange(n), Y[:n], CPU), Y, places


@pytest.mark.slow
def test_a_readout_finds_the_planted_places() -> None:
    lesson, Y, places = maps_lesson()
    (trained,) = train(lesson, [(ReadoutSettings(epochs=20, rate=1e-2, channel_dropout=0.0), 0)])
    assert held_out_r(trained, Y) > 0.9
    found = trained.pictures[0].reshape(Q, -1)
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(found, places.reshape(Q, -1), strict=True)]
    assert np.mean(r) > 0.9


@pytest.mark.slow
def test_a_point_is_found_between_places() -> None:
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((700, 4, 1, 9)).astype(np.float32)
    smooth = (maps + np.roll(maps, 1, axis=3) + np.roll(maps, -1, axis=3)) / 3
    Y = 0.6 * smooth[:, :, 0, 5] + 0.4 * smooth[:, :, 0, 6]
    lesson = Lesson(
        Resident((torch.from_numpy(smooth),)), HeadSize(((4, 1, 9),), (0,), 4), np.arange(500), Y[:500], CPU
    )
    (trained,) = train(lesson, [(ReadoutSettings(places="point", epochs=40, channel_dropout=0.0, places_rate=3.0), 0)])
    assert held_out_r(trained, Y) > 0.95
    centres = trained.pictures[0].reshape(4, 9) @ np.arange(9)
    np.testing.assert_allclose(centres, 5.4, atol=0.3)


@pytest.mark.slow
def test_layers_and_times_are_selected() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal((600, 3, 5, 2, 2)).astype(np.float32) for _ in range(2)]
    Y = maps[1][:, 2].mean(axis=(2, 3)) @ rng.standard_normal((5, 3))
    size = HeadSize(((5, 2, 2), (5, 2, 2)), (3, 3), 3)
    lesson = Lesson(Resident(tuple(map(torch.from_numpy, maps))), size, np.arange(500), Y[:500], CPU)
    settings = ReadoutSettings(select_layers=True, time="learned", rate=1e-2, channel_dropout=0.0)
    (trained,) = train(lesson, [(settings, 0)])
    assert pearson_r(Y[500:], trained.predictions[500:]).mean() > 0.95
    assert trained.arrays["head.layers"][:, 1].min() > trained.arrays["head.layers"][:, 0].max()
    assert trained.arrays["head.times.1"].argmax() == 2


@pytest.mark.slow
@pytest.mark.parametrize("clips", [False, True])
def test_fine_tuning_recovers_a_network_whose_weights_were_moved(clips: bool) -> None:
    lesson, Y = planted(clips)
    frozen = FinetunedSettings(epochs=30, shift=0, channel_dropout=0.0, decay=0.0, rate=1e-2, release=30)
    tuned = replace(frozen, release=3, backbone_rate=1e-2)
    before, after = (held_out_r(one, Y) for one in train(lesson, [(frozen, 0), (tuned, 0)]))
    assert before < 0.8
    assert after - before >= 0.8 * (1 - before)


@pytest.mark.slow
def test_noise_is_not_predicted() -> None:
    lesson, Y = planted(clips=False)
    noise = np.random.default_rng(3).standard_normal(Y.shape)
    (trained,) = train(replace(lesson, Y=noise[:600]), [(FinetunedSettings(epochs=20, release=5, shift=1), 0)])
    assert abs(held_out_r(trained, noise)) < 0.06  # its standard error is .02


@pytest.mark.parametrize("kind", ["maps", "half", "soup"])
def test_a_killed_training_goes_on_to_the_same_bits(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)
    if kind == "half":
        lesson, _ = planted(clips=False)
        lesson = replace(lesson, rows=np.arange(64), Y=lesson.Y[:64])
        settings: ReadoutSettings = FinetunedSettings(epochs=3, release="half", lora=2, light=0.1, shift=2)
    else:
        lesson, _, _ = maps_lesson(n=64)
        settings = ReadoutSettings(epochs=4, average="soup" if kind == "soup" else "none", patience=kind == "soup")
    both = [(settings, 0), (replace(settings, rate=1e-2), 1)]
    whole = train(lesson, both)
    begin, n_calls = training.Student.begin, 0

    def killed(self: training.Student, epoch: int) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 5:
            raise KeyboardInterrupt
        begin(self, epoch)

    monkeypatch.setattr(training.Student, "begin", killed)
    with pytest.raises(KeyboardInterrupt):
        train(lesson, both, tmp_path / "checkpoint.pt")
    assert (tmp_path / "checkpoint.pt").is_file()
    monkeypatch.setattr(training.Student, "begin", begin)
    for one, again in zip(whole, train(lesson, both, tmp_path / "checkpoint.pt"), strict=True):
        np.testing.assert_array_equal(one.predictions, again.predictions)
        np.testing.assert_array_equal(one.losses, again.losses)


def test_side_by_side_is_one_after_the_other() -> None:
    lesson, _, _ = maps_lesson(n=64)
    trainings = [(ReadoutSettings(epochs=2), 0), (ReadoutSettings(epochs=3, loss="pearson"), 1)]
    together = train(lesson, trainings)
    for one, alone in zip(together, [train(lesson, [each])[0] for each in trainings], strict=True):
        np.testing.assert_array_equal(one.predictions, alone.predictions)


@pytest.mark.parametrize("lora", [None, 0, 2])
def test_models_are_rebuilt_from_their_arrays(lora: int | None) -> None:
    """``lora`` None: a readout; else a network is trained, too. The mean of two variants is predicted."""
    lesson = replace(maps_lesson(n=64)[0] if lora is None else planted(clips=False)[0], rows=np.arange(64))
    lesson = replace(lesson, Y=lesson.Y[:64])
    settings = ReadoutSettings(epochs=2) if lora is None else FinetunedSettings(epochs=2, release=0, shift=1, lora=lora)
    both = train(lesson, [(settings, 0), (settings, 1)])
    assert isinstance(both[0], Trained)
    assert isinstance(both[1], Trained)
    arrays = {f"{v}/{name}": np.float32(array) for v, one in enumerate(both) for name, array in one.arrays.items()}
    inputs = [values.flatten(1) for values in lesson.stimuli.batch(torch.arange(len(lesson.stimuli)))]
    network = {name.removeprefix("network."): a.shape for name, a in both[0].arrays.items() if name[0] == "n"}
    facts = {"shapes": lesson.size.shapes, "n_times": lesson.size.n_times, "tokens": [False]}
    facts |= {"pixels": None if lora is None else (1, 12), "members": 2 * [{"points": False, "network": network}]}

    def backbone(rank: int) -> nn.Module:
        found = lesson.backbone()
        add_lora(found, rank) if rank else None
        return found

    rebuilt = TrainedMembers(arrays, facts, Q, backbone=None if lora is None else backbone)
    assert trained_shapes(facts, Q) == {name: array.shape for name, array in arrays.items()}
    assert input_sizes(facts) == [values.shape[1] for values in inputs]
    predicted = rebuilt.predict(inputs)
    np.testing.assert_allclose(predicted, (both[0].predictions + both[1].predictions) / 2, atol=1e-4)


def test_maps_on_disk_give_what_maps_in_memory_give() -> None:
    lesson, _, _ = maps_lesson(n=64)
    (values,) = lesson.stimuli.batch(torch.arange(len(lesson.stimuli)))
    parts = (values[:50].numpy(), values[50:].numpy())
    on_disk = replace(lesson, stimuli=Mapped((parts,), np.array([0, 50, len(values)]), CPU))
    first, second = (train(each, [(ReadoutSettings(epochs=2), 0)])[0] for each in (lesson, on_disk))
    np.testing.assert_array_equal(first.predictions, second.predictions)


def test_the_two_orders_of_summing_agree() -> None:
    values, weights, places = (
        torch.randn(*shape, generator=torch.manual_seed(0)) for shape in ((3, 5, 4), (2, 5), (2, 4))
    )
    head = Head(HeadSize(((5, 2, 2),), (0,), 2), ReadoutSettings())
    expected = torch.einsum("ncp,qc,qp->nq", values, weights, places)
    torch.testing.assert_close(head._read(values, weights, places), expected)
    torch.testing.assert_close(head._read(values.transpose(1, 2), places, weights), expected)


def test_pictures_are_shifted_and_edges_repeated() -> None:
    pixels = torch.arange(9, dtype=torch.uint8).view(1, 1, 3, 3, 1)
    moved = shifted(pixels, torch.tensor([[1, -2]]))[0, 0, :, :, 0]
    assert moved.tolist() == [[3, 3, 3], [6, 6, 6], [6, 6, 6]]


def test_a_training_that_fails_is_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of three, one has a loss that explodes and one no memory; the third is what it is alone, also after a kill."""
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)
    lesson, _, _ = maps_lesson(n=64)
    whole = ReadoutSettings(epochs=3)
    three = [(replace(whole, rate=1e30), 0), (whole, 1), (whole, 2)]
    advance = training.Student.advance

    def out_of_memory(self: training.Student, k: int) -> None:
        if self._seed == 2:
            raise torch.OutOfMemoryError("no room")
        advance(self, k)

    monkeypatch.setattr(training.Student, "advance", out_of_memory)
    for _ in range(2):  # the second time from the checkpoint
        exploded, trained, without_room = train(lesson, three, tmp_path / "checkpoint.pt")
        assert isinstance(exploded, Failed)
        assert exploded.reason.endswith("is not finite; lower the learning rates")
        assert without_room == Failed("no room")
        (alone,) = train(lesson, three[1:2])
        np.testing.assert_array_equal(trained.predictions, alone.predictions)


def test_a_variant_names_settings_of_one_training() -> None:
    assert [one.epochs for one in ReadoutSettings(variants=({"epochs": 2}, {})).trainings()] == [2, 45]
    with pytest.raises(OptionError, match=r"variants have no setting 'seeds'; allowed: places, .*; leave it out"):
        ReadoutSettings(variants=({"seeds": 2},))
    with pytest.raises(OptionError, match="epochs must be at least 1; got 0"):
        ReadoutSettings(variants=({"epochs": 0},))
