"""How the small networks of other rooms are trained: from a seed, on one thread, batch by batch; needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Seed torch and use one thread, so that sums have one order on any number of cores; both are restored."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def learn_once(
    network: nn.Module, optimizer: torch.optim.Optimizer, inputs: torch.Tensor, targets: torch.Tensor, batch: int
) -> None:
    """Lower the mean squared error on all rows once, ``batch`` rows at a time, in random order."""
    for rows in torch.split(torch.randperm(len(inputs)), batch):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.mse_loss(network(inputs[rows]), targets[rows]))
        optimizer.step()
