"""One training of a readout, or of a network with it: on a GPU from recorded steps.

AdamW with a one-cycle schedule: the rate rises from 1/25 to its top in the first 30 % of the steps and falls to 4e-6 of
it, both as cosines [1]_. All chance of an epoch (order, channels left out, shifts) is drawn on the CPU from the seed
and the epoch's number, so that a training that goes on after a kill has the same bits on the same device.

References
----------
.. [1] Smith, L. N. & Topin, N. Super-convergence: very fast training of neural networks using large learning rates.
   arXiv:1708.07120 (2017).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import DataError
from voxelcast.core.seeds import derive_seed, generator
from voxelcast.encoders.learned.head import Head, HeadSize, head_arrays
from voxelcast.encoders.learned.lora import add_lora
from voxelcast.encoders.learned.maps import Maps
from voxelcast.encoders.learned.settings import FinetunedSettings, ReadoutSettings

_PREDICTED = 128
_WARM_UP = 3
_RISE, _START, _END = 0.3, 1 / 25, 1 / 25e4
State = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Lesson:
    """What there is to learn.

    Parameters
    ----------
    stimuli : Maps
        Of all stimuli.
    size : HeadSize
    rows : ndarray of shape (n,), int
        Stimuli trained on.
    Y : ndarray of shape (n, q)
        Responses to them.
    weights : ndarray of shape (q,), optional
        Of the voxels in the loss ``noise_weighted``.
    backbone : callable, optional
        Gives a network of its own to each training; None: stimuli are maps.
    """

    stimuli: Maps
    size: HeadSize
    rows: IntArray
    Y: FloatArray
    device: torch.device
    weights: FloatArray | None = None
    backbone: Callable[[], nn.Module] | None = None


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training leaves.

    Parameters
    ----------
    predictions : ndarray of shape (n_stimuli, q)
        Of all stimuli.
    losses, scores : ndarray of shape (n_epochs,)
        Mean loss, and score on the stimuli set aside: NaN where none were.
    arrays : dict
        All that changed, for `voxelcast.encoders.learned.head.head_from_arrays` and the network's own weights.
    pictures : list of ndarray of shape (q, h, w)
        Where each voxel reads in each layer.
    """

    predictions: FloatArray
    losses: FloatArray
    scores: FloatArray
    arrays: dict[str, FloatArray]
    pictures: list[FloatArray]


class Student:
    """One training."""

    def __init__(self, lesson: Lesson, settings: ReadoutSettings, seed: int) -> None:
        self.lesson, self.settings, self._seed = lesson, settings, seed
        self._tuned = settings if isinstance(settings, FinetunedSettings) and lesson.backbone else None
        device = lesson.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "learned", "first"))
            self.head = Head(lesson.size, settings).to(device)
            self.backbone = lesson.backbone().to(device).eval() if lesson.backbone else None
            if self.backbone is not None and self._tuned is not None and self._tuned.lora:
                add_lora(self.backbone, self._tuned.lora)
        order = generator(seed, "learned", "set aside").permutation(len(lesson.rows))
        n_aside = max(1, len(order) // 10) if settings.sets_aside else 0
        self._aside, self._kept = np.sort(order[:n_aside]), np.sort(order[n_aside:])
        kept = lesson.Y[self._kept]
        self._y_mean, self._y_scale = kept.mean(axis=0), kept.std(axis=0)
        self._y_scale[self._y_scale == 0] = 1.0
        self._targets = torch.tensor((lesson.Y - self._y_mean) / self._y_scale, dtype=torch.float32, device=device)
        self._rows = torch.as_tensor(lesson.rows, device=device)
        weights = np.ones(lesson.size.n_voxels)
        if settings.loss == "noise_weighted" and lesson.weights is not None:
            weights = lesson.weights / lesson.weights.mean()
        self._weights = torch.tensor(weights, dtype=torch.float32, device=device)
        self._batch = min(settings.batch, len(self._kept))
        self.n_steps = len(self._kept) // self._batch
        half = self._tuned is not None and self._tuned.release == "half"
        self.n_epochs = settings.epochs * (2 if half else 1)
        self._reference = half  # whether this is still the training with a frozen network
        self._threshold = math.inf
        self._released = self._stopped = False
        self.losses: list[float] = []
        self.scores: list[float] = []
        self._states: list[tuple[float, State]] = []
        self._cuda = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self._cuda else None  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._tops = self._groups()
        self._first = {name: values.clone() for name, values in self._model_state().items()} if half else {}
        self._buffers = self._make_buffers()

    # The optimiser, and what chance does

    def _groups(self) -> list[float]:
        """Make the optimiser; return the top of each group's rate."""
        settings, head = self.settings, self.head
        self._network: dict[str, nn.Parameter] = {}
        free = [*head.times, head.layers, head.bias]
        decayed = 0.0 if head.points else settings.decay
        groups: list[tuple[list[nn.Parameter], float, float]] = [
            (list(head.weights), settings.rate, settings.decay),
            (list(head.places), settings.rate * settings.places_rate, decayed),
            ([p for p in free if p.requires_grad], settings.rate, 0.0),
        ]
        if self.backbone is not None and self._tuned is not None:
            stages: list[list[nn.Parameter]] = self.backbone.stages()  # type: ignore[operator]
            for k, stage in enumerate(reversed(stages)):
                learning = [p for p in stage if not self._tuned.lora or p in _added(self.backbone)]
                rate = self._tuned.backbone_rate * self._tuned.layer_decay**k
                groups += [(learning, rate, settings.decay)] if learning else []
            self.backbone.requires_grad_(False)
            learnt = {p for group in groups[3:] for p in group[0]}
            self._network = {name: p for name, p in self.backbone.named_parameters() if p in learnt}
        made = [{"params": params, "weight_decay": decay, "lr": 0.0} for params, _, decay in groups]
        options: dict[str, Any] = {"foreach": True}
        if self._cuda:
            options = {"fused": True, "capturable": True}
            for group in made:
                group["lr"] = torch.zeros((), device=self.lesson.device)
        self.optimizer = torch.optim.AdamW(made, betas=(0.9, 0.999), **options)
        return [rate for _, rate, _ in groups]

    def _make_buffers(self) -> dict[str, torch.Tensor]:
        steps, device = (self.n_steps, self._batch), self.lesson.device
        buffers = {
            "k": torch.zeros(1, dtype=torch.long, device=device),
            "rows": torch.zeros(steps, dtype=torch.long, device=device),
            "rates": torch.zeros((self.n_steps, len(self._tops)), device=device),
            "losses": torch.zeros(self.n_steps, device=device),
        }
        if self.settings.channel_dropout:
            for k, (c, _, _) in enumerate(self.lesson.size.shapes):
                buffers[f"kept{k}"] = torch.zeros((*steps, c), dtype=torch.bool, device=device)
        if self._tuned is not None and self._tuned.shift:
            buffers["shifts"] = torch.zeros((*steps, 2), dtype=torch.long, device=device)
        if self._tuned is not None and self._tuned.light:
            buffers["light"] = torch.zeros((*steps, 2), device=device)
        return buffers

    def goes_on(self, epoch: int) -> bool:
        """Whether the training has an epoch of that number."""
        return epoch < self.n_epochs and not self._stopped

    def begin(self, epoch: int) -> None:
        """Draw the chance of an epoch."""
        local, settings, buffers = epoch % self.settings.epochs, self.settings, self._buffers
        if epoch and local == 0:
            self._begin_again()
        self._check_release(local)
        rng, (steps, size) = generator(self._seed, "learned", "epoch", local), (self.n_steps, self._batch)
        drawn: dict[str, np.ndarray] = {
            "rows": rng.permutation(self._kept)[: steps * size].reshape(steps, size),
            "rates": np.outer(_one_cycle(local * steps + np.arange(steps), settings.epochs * steps), self._tops),
        }
        for name in [name for name in buffers if name.startswith("kept")]:
            drawn[name] = rng.random(buffers[name].shape, dtype=np.float32) >= settings.channel_dropout
        if self._tuned is not None:
            each = (steps, size if self._tuned.shift_per == "picture" else 1, 2)
            shifts = rng.integers(-self._tuned.shift, self._tuned.shift, each, endpoint=True)
            drawn["shifts"] = np.broadcast_to(shifts, (steps, size, 2))
            drawn["light"] = rng.normal(0.0, self._tuned.light, (steps, size, 2))
        for name in [name for name in buffers if name in drawn]:
            buffers[name].copy_(torch.from_numpy(np.array(drawn[name], order="C")))
        self._rates = drawn["rates"]
        buffers["k"].zero_()
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self.lesson.device))

    def _check_release(self, local: int) -> None:
        if self._tuned is None or self._released or self._reference:
            return
        due = self.scores[-1] >= self._threshold if self._tuned.release == "half" and self.scores else None
        if due or (isinstance(self._tuned.release, int) and local >= self._tuned.release):
            self._release()

    def _release(self) -> None:
        self._released, self._graph = True, None
        for parameter in self._network.values():
            parameter.requires_grad_(True)

    def _begin_again(self) -> None:
        """After the training with a frozen network: the same again, with its score known."""
        self._threshold = max(self.scores) / 2
        self._load_model(self._first)
        for state in self.optimizer.state.values():
            for values in state.values():
                values.zero_()
        self.losses, self.scores, self._states, self._reference = [], [], [], False

    # Steps

    def advance(self, k: int) -> None:
        """Learn from batch k of the epoch."""
        if self._stream is None or not (self.settings.graphs and self.lesson.stimuli.resident):
            self._step(k)
            return
        if self._graph is None:
            self._record()
        assert self._graph is not None
        with torch.cuda.stream(self._stream):
            self._graph.replay()

    def _record(self) -> None:
        """Record a step as a graph; what the rehearsal changes is put back."""
        device = self.lesson.device
        torch.cuda.synchronize(device)
        model = {name: values.clone() for name, values in self._model_state().items()}
        before = {p: {n: v.clone() for n, v in state.items()} for p, state in self.optimizer.state.items()}
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UP):
                self._buffers["k"].zero_()
                self._step(0)
        torch.cuda.synchronize(device)
        self._load_model(model)
        for parameter, state in self.optimizer.state.items():
            for name, values in state.items():
                values.copy_(before[parameter][name]) if parameter in before else values.zero_()
        self._buffers["k"].zero_()
        self.optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize(device)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=self._stream):
            self._step(0)

    def _step(self, step: int) -> None:
        """Learn once; on a GPU all that changes from step to step lies on it, and ``step`` is not used."""
        buffers = self._buffers
        drawn = {name: values.index_select(0, buffers["k"])[0] for name, values in buffers.items() if values.ndim > 1}
        for g, group in enumerate(self.optimizer.param_groups):
            if self._cuda:
                group["lr"].copy_(drawn["rates"][g])
            else:
                group["lr"] = float(self._rates[step, g])
        self.optimizer.zero_grad(set_to_none=True)
        self.head.train()
        rows, share = drawn["rows"], 1 - self.settings.channel_dropout
        maps = self._maps(self._rows[rows], drawn.get("shifts"), drawn.get("light"))
        kept = [drawn[f"kept{k}"].float() / share if f"kept{k}" in drawn else None for k in range(len(maps))]
        loss = self._loss(self.head(maps, kept), self._targets[rows])
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        buffers["losses"].index_copy_(0, buffers["k"], loss.detach().view(1))
        buffers["k"] += 1

    def _maps(
        self, rows: torch.Tensor, shifts: torch.Tensor | None = None, light: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        values = self.lesson.stimuli.batch(rows)
        if self.backbone is None:
            return values
        (pixels,) = values
        pixels = (pixels if shifts is None else shifted(pixels, shifts)).float()
        if light is not None:
            contrast, brightness = (light[:, k].view(-1, 1, 1, 1, 1) for k in (0, 1))
            pixels = (pixels - 127.5) * (1 + contrast) + 127.5 + 255 * brightness
        narrow = self._cuda and self._tuned is not None and self._tuned.bfloat16
        device = self.lesson.device.type
        with (
            torch.set_grad_enabled(self._released and self.head.training),
            torch.autocast(device, torch.bfloat16, enabled=narrow, cache_enabled=False),
        ):
            maps: list[torch.Tensor] = self.backbone(pixels)
        return maps

    def _loss(self, predicted: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if self.settings.loss == "pearson":
            p, t = (values - values.mean(0) for values in (predicted, targets))
            r: torch.Tensor = (p * t).sum(0) / (p.norm(dim=0) * t.norm(dim=0)).clamp(min=1e-6)
            return 1 - r.mean()
        loss: torch.Tensor = ((predicted - targets).square() * self._weights).mean()
        return loss

    def end(self, epoch: int) -> None:
        """Judge, and keep what an average needs."""
        if self._stream is not None:
            self._stream.synchronize()
        loss = float(self._buffers["losses"].mean())
        if not math.isfinite(loss):
            raise DataError(f"the loss of epoch {epoch + 1} is not finite; lower the learning rates")
        self.losses.append(loss)
        score = self._judge() if len(self._aside) else math.nan
        self.scores.append(score)
        local, settings = epoch % self.settings.epochs, self.settings
        if self._reference:
            return
        if settings.average != "none" and local >= settings.epochs - max(1, settings.epochs // 5):
            self._states.append((score, {name: v.clone() for name, v in self._model_state().items()}))
        elif settings.patience and settings.average == "none" and score >= max(self.scores):
            self._states = [(score, {name: v.clone() for name, v in self._model_state().items()})]
        best = int(np.argmax(self.scores)) if settings.patience else local
        self._stopped = bool(settings.patience) and len(self.scores) - 1 - best >= settings.patience

    def _judge(self) -> float:
        """Score the stimuli set aside: the mean over voxels of Pearson's r."""
        p = self._predict(self.lesson.rows[self._aside])
        t = self._targets[torch.as_tensor(self._aside, device=self._targets.device)].double().cpu().numpy()
        p, t = p - p.mean(axis=0), t - t.mean(axis=0)
        sizes = np.sqrt(np.square(p).sum(axis=0) * np.square(t).sum(axis=0))
        return float(((p * t).sum(axis=0) / np.maximum(sizes, 1e-12)).mean())

    def _predict(self, rows: IntArray) -> FloatArray:
        """Predict standardised responses, (n, q)."""
        self.head.eval()
        found = []
        with torch.no_grad():
            for part in np.array_split(rows, max(1, -(-len(rows) // _PREDICTED))):
                maps = self._maps(torch.as_tensor(part, device=self.lesson.device))
                found.append(self.head(maps, [None] * len(maps)).double().cpu().numpy())
        return np.concatenate(found)

    # What is kept

    def _model_state(self) -> State:
        """Return what training changes, by name: not copies."""
        state = {f"head.{name}": values for name, values in self.head.state_dict().items()}
        return state | {f"network.{name}": values.detach() for name, values in self._network.items()}

    def _load_model(self, state: State) -> None:
        with torch.no_grad():
            for name, values in self._model_state().items():
                values.copy_(state[name])

    def state(self) -> dict[str, Any]:
        """Return all that the training goes on from."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        return {
            "model": self._model_state(),
            "optimizer": [dict(self.optimizer.state.get(p, {})) for p in parameters],
            "losses": self.losses,
            "scores": self.scores,
            "states": [[score, state] for score, state in self._states],
            "flags": [self._released, self._stopped, self._reference],
            "threshold": self._threshold,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self._load_model(state["model"])
        released, self._stopped, self._reference = state["flags"]
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for parameter, values in zip(parameters, state["optimizer"], strict=True):
            if values:
                self.optimizer.state[parameter] = values
        self.losses, self.scores, self._threshold = state["losses"], state["scores"], state["threshold"]
        self._states = [(score, model) for score, model in state["states"]]
        if released:
            self._release()

    def finish(self) -> Trained:
        """Average the weights, and predict all stimuli."""
        if self._states:
            self._load_model(self._averaged())
        predicted = self._predict(np.arange(len(self.lesson.stimuli)))
        arrays = head_arrays(self.head, self._y_mean, self._y_scale)
        arrays |= {n: v.double().cpu().numpy() for n, v in self._model_state().items() if n.startswith("network.")}
        predictions = self._y_mean + self._y_scale * predicted
        return Trained(predictions, np.array(self.losses), np.array(self.scores), arrays, self.head.pictures())

    def _averaged(self) -> State:
        """Average the states kept: all of them or, by the score on the stimuli set aside, those that help."""
        states = [state for _, state in sorted(self._states, key=lambda kept: -kept[0])]
        if self.settings.average != "soup":
            return _mean(states)
        chosen, best = states[:1], -math.inf
        for state in [None, *states[1:]]:
            tried = chosen if state is None else [*chosen, state]
            self._load_model(_mean(tried))
            score = self._judge()
            if score > best:
                chosen, best = tried, score
        return _mean(chosen)


def shifted(pixels: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Shift pictures (n, n_times, h, w, c) by whole pixels, (n, 2); edges are repeated."""
    for axis in (2, 3):
        size = pixels.shape[axis]
        at = (torch.arange(size, device=pixels.device) + shifts[:, axis - 2, None]).clamp(0, size - 1)
        shape = [len(pixels), 1, 1, 1, 1]
        shape[axis] = size
        pixels = pixels.gather(axis, at.view(shape).expand(pixels.shape))
    return pixels


def _mean(states: Sequence[State]) -> State:
    return {name: torch.stack([state[name].double() for state in states]).mean(0) for name in states[0]}


def _added(backbone: nn.Module) -> set[nn.Parameter]:
    return {p for name, p in backbone.named_parameters() if name.endswith(("lora_a", "lora_b"))}


def _one_cycle(step: IntArray, n_steps: int) -> FloatArray:
    """Return the rate at each step, in units of its top."""
    top = max(_RISE * n_steps - 1, 1e-9)
    rising, falling = np.clip(step / top, 0, 1), np.clip((step - top) / max(n_steps - 1 - top, 1e-9), 0, 1)
    up = _START + (1 - _START) * (1 - np.cos(np.pi * rising)) / 2
    return np.asarray(np.where(step <= top, up, _END + (1 - _END) * (1 + np.cos(np.pi * falling)) / 2))
