"""How the trunks with hidden units are trained; needs torch.

The state after each epoch (weights, the optimiser's moments, errors) is kept in a folder, and every epoch draws from a
seed of its own: a training that was killed goes on from its last epoch to the same bits on the same device.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.seeds import derive_seed
from voxelcast.core.torch_training import deterministic
from voxelcast.encoders.learned.trunk import Streams, Trunk
from voxelcast.encoders.learned.trunk_settings import EPOCHS, MOST_EPOCHS, TrunkSettings
from voxelcast.encoders.mlp import set_aside
from voxelcast.store.atomic import atomic_path

_PATIENCE = 10
_STATE = "epoch.npz"


class _Network(nn.Module):
    """Hidden units and heads; parameters are drawn as torch draws those of linear layers."""

    def __init__(self, sizes: Sequence[int], widths: Sequence[int], settings: TrunkSettings) -> None:
        super().__init__()
        d, self.dropout = settings.width, settings.subject_dropout
        self.maps = nn.ParameterList([_drawn(size, (size, d)) for size in sizes])
        k = settings.kernel
        self.kernels = nn.ParameterList([_drawn(k, (k, d)) for _ in sizes] if settings.kind == "temporal" else [])
        self.bias = nn.Parameter(torch.zeros(d)) if settings.kind == "mlp" else None
        self.shared = _drawn(d, (d, widths[0])) if settings.shared_head else None
        rank = settings.rank
        self.left = nn.ParameterList([_drawn(d, (d, rank)) for _ in widths] if rank else [])
        self.own = nn.ParameterList([_drawn(rank or d, (rank or d, q)) for q in widths])
        self.offset = nn.Parameter(torch.zeros(sum(widths)))

    def forward(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Predict all voxels, (batch, q) or (batch, window, q), from each stream's features."""
        kept = torch.rand(len(self.own)) >= self.dropout if self.training and self.dropout else None
        return self.hidden(inputs) @ self.head(kept) + self.offset

    def hidden(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the hidden units; of windows those of the volumes that the kernel's reach leaves."""
        mapped = [X @ A for X, A in zip(inputs, self.maps, strict=True)]
        if self.kernels:
            mapped = [_over_time(Z, K) for Z, K in zip(mapped, self.kernels, strict=True)]
        total = torch.stack(mapped).sum(dim=0)
        return total if self.bias is None else torch.relu(total + self.bias)

    def head(self, kept: torch.Tensor | None = None) -> torch.Tensor:
        """Return all subjects' heads side by side, (d, q); of those not kept the shared one alone."""
        own = [B @ V for B, V in zip(self.left, self.own, strict=True)] if len(self.left) else list(self.own)
        if kept is not None:
            own = [W if keep else 0.0 * W for W, keep in zip(own, kept.tolist(), strict=True)]
        return torch.cat(own if self.shared is None else [self.shared + W for W in own], dim=1)


def _drawn(n_in: int, shape: tuple[int, int]) -> nn.Parameter:
    return nn.Parameter((torch.rand(shape) * 2 - 1) / n_in**0.5)


def _over_time(Z: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Convolve (batch, window + k - 1, d) with a kernel (k, d): by Fourier transform, whose sums have one order."""
    n, k = Z.shape[1], kernel.shape[0]
    transformed = torch.fft.rfft(Z, dim=1) * torch.fft.rfft(kernel, n=n, dim=0)
    found: torch.Tensor = torch.fft.irfft(transformed, n=n, dim=1)
    return found[:, k - 1 :]


class _Batches:
    """The training data on the device: rows of features and responses, the last of which is 0 for what is not there.

    Of time series ``starts`` are the places, in one table of all runs, at which windows can begin.
    """

    def __init__(self, streams: Streams, rows: IntArray, Z: FloatArray, settings: TrunkSettings, device: str) -> None:
        n, self.settings = len(streams.features[0]), settings
        self.inputs = [_with_zero(X, device) for X in streams.features]
        self.targets = _with_zero(Z, device)
        self.row_of = np.full(n + 1, len(rows))
        self.row_of[rows] = np.arange(len(rows))
        self.rows, self.n = rows, n
        if streams.series is None:
            return
        k, window = settings.kernel, settings.window
        behind = k - 1 if settings.causal else k // 2
        table, starts = list[IntArray](), list[int]()
        for members, at in streams.runs():
            trained = at[np.isin(members, rows)]
            if not trained.size:
                continue
            length, first = int(at.max()) + 1, sum(len(part) for part in table)
            padded = np.full(max(length, window) + k - 1, n)
            padded[behind + at] = members
            table.append(padded)
            low, last = int(trained.min()), max(length - window, 0)
            high = max(low, int(trained.max()) + 1 - window)
            starts += range(first + min(low, last), first + min(high, last) + 1)
        self.table, self.starts, self.behind = np.concatenate(table), np.array(starts), behind

    def epoch(self, rows: IntArray) -> list[IntArray]:
        """Draw the batches of an epoch: stimuli in random order, or the windows' starts."""
        if self.settings.kind != "temporal":
            return _split(rows[torch.randperm(len(rows)).numpy()], self.settings.batch)
        drawn = torch.randint(len(self.starts), (self.settings.windows,)).numpy()
        return _split(self.starts[drawn], self.settings.batch)

    def error(self, network: _Network, batch: IntArray) -> torch.Tensor:
        """Return the mean squared error over the stimuli or volumes of a batch that have responses."""
        device = self.targets.device
        if self.settings.kind != "temporal":
            there = torch.from_numpy(batch).to(device)
            predicted = network([X[there] for X in self.inputs])
            return nn.functional.mse_loss(predicted, self.targets[torch.from_numpy(self.row_of[batch]).to(device)])
        window = self.settings.window
        seen = self.table[batch[:, None] + np.arange(window + self.settings.kernel - 1)]
        wanted = self.row_of[seen[:, self.behind : self.behind + window]]
        known = torch.from_numpy(wanted < len(self.rows)).to(device)
        indices = torch.from_numpy(seen).to(device)
        difference = network([X[indices] for X in self.inputs]) - self.targets[torch.from_numpy(wanted).to(device)]
        each = difference.square().mean(dim=2)
        return torch.where(known, each, 0.0).sum() / known.sum().clamp(min=1)


def _with_zero(values: FloatArray, device: str) -> torch.Tensor:
    padded = np.concatenate([values, np.zeros((1, values.shape[1]))]).astype(np.float32)
    return torch.from_numpy(padded).to(device)


def _split(rows: IntArray, size: int) -> list[IntArray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def train_network(
    streams: Streams,
    rows: IntArray,
    Z: FloatArray,
    widths: Sequence[int],
    settings: TrunkSettings,
    *,
    seed: int,
    where: tuple[str, Path | None],
) -> Trunk:
    """Train on standardised features and responses, ``Z`` (n_train, q) with ``widths`` voxels of each subject.

    ``where``: the device, and the folder that a killed training goes on from. The trunk returned has no means and
    outputs yet.
    """
    device, scratch = where
    with deterministic(seed):
        network = _Network([X.shape[1] for X in streams.features], widths, settings).to(device)
        matrices = [one for name, one in network.named_parameters() if name not in ("bias", "offset")]
        others = [one for name, one in network.named_parameters() if name in ("bias", "offset")]
        groups = [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
        batches = _Batches(streams, rows, Z, settings, device)
        aside, kept = rows[:0], rows
        if settings.kind == "mlp" and settings.epochs is None:
            aside, kept = (rows[some] for some in set_aside(len(rows), seed))
        most = settings.epochs or (MOST_EPOCHS if aside.size else EPOCHS)
        training = _State(network, optimizer, scratch)
        while len(training.errors) < most and not (aside.size and training.waited >= _PATIENCE):
            torch.manual_seed(derive_seed(seed, "epoch", len(training.errors)))
            network.train()
            errors = [_step(network, optimizer, batches, batch) for batch in batches.epoch(kept)]
            network.eval()
            with torch.no_grad():
                error = batches.error(network, aside) if aside.size else torch.stack(errors).mean()
            training.note(float(error), stops=bool(aside.size))
        return training.trunk(causal=settings.causal)


def _step(network: _Network, optimizer: torch.optim.Optimizer, batches: _Batches, batch: IntArray) -> torch.Tensor:
    optimizer.zero_grad()
    error = batches.error(network, batch)
    torch.autograd.backward(error)
    optimizer.step()
    return error.detach()


class _State:
    """Where a training is: its errors so far, and the best weights where it stops by itself (else the last)."""

    def __init__(self, network: _Network, optimizer: torch.optim.Optimizer, folder: Path | None) -> None:
        self.network, self._optimizer = network, optimizer
        self._path = None if folder is None else folder / _STATE
        self.errors: list[float] = []
        self.best = self._weights()
        if self._path is not None and self._path.is_file():
            with contextlib.suppress(
                zipfile.BadZipFile, EOFError, ValueError
            ):  # a state that is damaged costs a training
                self._load(self._path)

    @property
    def waited(self) -> int:
        """Epochs since the one of least error."""
        return len(self.errors) - 1 - self.errors.index(min(self.errors)) if self.errors else 0

    def note(self, error: float, *, stops: bool) -> None:
        """Note the error of an epoch, and keep the state."""
        self.errors.append(error)
        if not stops or self.waited == 0:
            self.best = self._weights()
        if self._path is not None:
            self._save(self._path)

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: one.detach().clone() for name, one in self.network.named_parameters()}

    def _save(self, path: Path) -> None:
        arrays = {"errors": np.array(self.errors)}
        for name, one in self.network.named_parameters():
            arrays[f"weights/{name}"] = one.detach().cpu().numpy()
            arrays[f"best/{name}"] = self.best[name].cpu().numpy()
            for moment, value in self._optimizer.state[one].items():
                arrays[f"{moment}/{name}"] = value.cpu().numpy()
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def _load(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        moments = ("step", "exp_avg", "exp_avg_sq")
        with torch.no_grad():
            for name, one in self.network.named_parameters():
                one.copy_(torch.from_numpy(arrays[f"weights/{name}"]))
                self.best[name].copy_(torch.from_numpy(arrays[f"best/{name}"]))
                values = {moment: torch.from_numpy(arrays[f"{moment}/{name}"]) for moment in moments}
                self._optimizer.state[one] = {
                    moment: value if moment == "step" else value.to(one.device) for moment, value in values.items()
                }
        self.errors = arrays["errors"].tolist()

    def trunk(self, *, causal: bool) -> Trunk:
        """Return the weights in float64; they were trained in float32."""
        with torch.no_grad():
            for name, one in self.network.named_parameters():
                one.copy_(self.best[name])
            head = _array(self.network.head())
        shared, bias = self.network.shared, self.network.bias
        empty = np.zeros(0)
        return Trunk(
            means=tuple(np.zeros(A.shape[0]) for A in self.network.maps),
            maps=tuple(map(_array, self.network.maps)),
            kernels=tuple(_array(K).T for K in self.network.kernels),
            causal=causal,
            bias=empty if bias is None else _array(bias),
            head=head,
            intercept=_array(self.network.offset),
            shared=np.zeros((len(head), 0)) if shared is None else _array(shared),
            outputs=empty,
            centre=empty,
            errors=np.array(self.errors),
        )


def _array(values: torch.Tensor) -> FloatArray:
    return np.asarray(values.detach().cpu().numpy(), dtype=np.float64)
