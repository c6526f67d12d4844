"""SimCLR-v2 with 50 layers written out in double precision, with either padding; and its tensors as in TensorFlow."""

from __future__ import annotations

import itertools

import torch

from voxelcast.networks.families.simclr import SimCLRNet


def _conv(x: torch.Tensor, weight: torch.Tensor, stride: int = 1) -> torch.Tensor:
    around = (weight.shape[-1] - 1) // 2
    return torch.nn.functional.conv2d(torch.nn.functional.pad(x, (around,) * 4), weight, stride=stride)


def _max_pool(x: torch.Tensor, padding: str) -> torch.Tensor:
    """3x3, stride 2; the port has one pixel on each side, TensorFlow what is missing, the smaller half before."""
    size = -(-x.shape[-1] // 2)
    before = 1 if padding == "port" else max(0, 2 * (size - 1) + 3 - x.shape[-1]) // 2
    out = x.new_empty(*x.shape[:2], size, size)
    for i, j in itertools.product(range(size), repeat=2):
        top, left = 2 * i - before, 2 * j - before
        out[..., i, j] = x[..., max(top, 0) : top + 3, max(left, 0) : left + 3].amax((2, 3))
    return out


def _average_pool(x: torch.Tensor, stride: int, padding: str) -> torch.Tensor:
    """2x2; of windows over the border the port, and TensorFlow where it strides, counts zeros, four in all."""
    size = -(-x.shape[-1] // stride)
    out = x.new_empty(*x.shape[:2], size, size)
    for i, j in itertools.product(range(size), repeat=2):
        window = x[..., stride * i : stride * i + 2, stride * j : stride * j + 2]
        counted = 4 if padding == "port" or stride == 2 else window[0, 0].numel()
        out[..., i, j] = window.sum((2, 3)) / counted
    return out


class ByHand:
    """A network with the tensors of a converted checkpoint, step by step."""

    def __init__(self, state: dict[str, torch.Tensor], padding: str) -> None:
        self.state, self.padding = {name: tensor.double() for name, tensor in state.items()}, padding
        self.seen: dict[str, torch.Tensor] = {}

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias, mean, var = (
            self.state[f"{name}.{kind}"][:, None, None] for kind in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias

    def block(self, x: torch.Tensor, name: str, stride: int) -> torch.Tensor:
        w = self.state
        shortcut = x
        if f"{name}.projection.shortcut.weight" in w:
            shortcut = _conv(x, w[f"{name}.projection.shortcut.weight"], stride)
        elif f"{name}.projection.shortcut.2.weight" in w:
            shortcut = _conv(_average_pool(x, stride, self.padding), w[f"{name}.projection.shortcut.2.weight"])
        if shortcut is not x:
            shortcut = self.norm(shortcut, f"{name}.projection.bn.0")
        y = torch.relu(self.norm(_conv(x, w[f"{name}.net.0.weight"]), f"{name}.net.1.0"))
        if f"{name}.net.2.weight" in w:
            y = torch.relu(self.norm(_conv(y, w[f"{name}.net.2.weight"], stride), f"{name}.net.3.0"))
            last = 4
        else:
            kernel = f"{name}.net.2"
            y = torch.relu(self.norm(_conv(y, w[f"{kernel}.main_conv.0.weight"], stride), f"{kernel}.main_conv.1.0"))
            a, b = y.chunk(2, dim=1)
            mixing = _conv((a + b).mean((2, 3), keepdim=True), w[f"{kernel}.mixing_conv.0.weight"])
            mixing = torch.relu(self.norm(mixing, f"{kernel}.mixing_conv.1.0"))
            first, second = torch.exp(_conv(mixing, w[f"{kernel}.mixing_conv.2.weight"])).chunk(2, dim=1)
            y = (first * a + second * b) / (first + second)
            last = 3
        return torch.relu(self.norm(_conv(y, w[f"{name}.net.{last}.weight"]), f"{name}.net.{last + 1}.0") + shortcut)

    def run(self, frames: torch.Tensor) -> dict[str, torch.Tensor]:
        x, seen = frames.double(), self.seen
        step = 0
        while f"net.0.{step}.weight" in self.state:
            x = seen[f"net.0.{step}"] = _conv(x, self.state[f"net.0.{step}.weight"], 2 if step == 0 else 1)
            x = seen[f"net.0.{step + 1}"] = torch.relu(self.norm(x, f"net.0.{step + 1}.0"))
            step += 2
        x = seen[f"net.0.{step}"] = _max_pool(x, self.padding)
        for stage, n_blocks in enumerate((3, 4, 6, 3), start=1):
            for k in range(n_blocks):
                name = f"net.{stage}.blocks.{k}"
                x = seen[name] = self.block(x, name, 2 if k == 0 and stage > 1 else 1)
        x = seen["avgpool"] = x.mean((2, 3), keepdim=True)
        seen["fc"] = x.flatten(1) @ self.state["fc.weight"].T + self.state["fc.bias"]
        return seen


def as_tensorflow(module: SimCLRNet, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Name and lay out tensors as the original does: numbered in order of construction, shortcut first in a block.

    Beside them is what else such checkpoints hold.
    """
    norm = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    stored, n_convolutions, n_norms = {}, 0, 0
    for name, tensor in state.items():
        path, _, kind = name.rpartition(".")
        if name.startswith("fc.") or kind == "num_batches_tracked":
            continue
        if tensor.ndim == 4:
            number = f"_{n_convolutions}" if n_convolutions else ""
            stored[f"base_model/conv2d{number}/kernel"] = tensor.permute(2, 3, 1, 0).contiguous()
            n_convolutions += 1
        else:
            n_norms += kind == "weight"
            number = f"_{n_norms - 1}" if n_norms > 1 else ""
            stored[f"base_model/batch_normalization{number}/{norm[kind]}"] = tensor
            assert isinstance(module.get_submodule(path), torch.nn.BatchNorm2d)
    stored["head_supervised/linear_layer/dense/kernel"] = state["fc.weight"].T
    stored["head_supervised/linear_layer/dense/bias"] = state["fc.bias"]
    beside = {
        "base_model/conv2d/kernel/Momentum": torch.zeros(2),
        "ema_model/conv2d/kernel": torch.zeros(2),
        "head_contrastive/nl_0/dense/kernel": torch.zeros(2, 2),
        "global_step": torch.tensor(1),
    }
    return stored | beside
