"""Outputs to look at, and the page over them: in this process, or served to a browser."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.browser import browser, visit
from tests.experiment.conftest import images, in_process
from voxelcast.testing.results import ROIS, write_output

__all__ = ["browser", "images", "in_process", "visit"]

SUBJECTS = [f"sub{number:02d}" for number in range(1, 11)]
NETWORKS = ("torchvision/resnet18", "torchvision/alexnet", "timm/vit_base_patch16_224", "voxelcast/motion_energy")


def describe(output: Path, **settings: object) -> Path:
    """Add settings to a config.yaml."""
    path = output / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | settings))
    return output


def write_outputs(root: Path, n: int) -> Path:
    """Write ``n`` experiments of 10 subjects x 9 ROIs x 25 layers in three studies; names and scores differ."""
    first = root / "study0" / "exp00"
    sizes = {"subjects": SUBJECTS, "rois": ROIS, "n_layers": 25, "n_settings": 1, "n_voxels": 5}
    write_output(first, networks=[NETWORKS[0]], held_out=True, **sizes)
    for number in range(n):
        network = NETWORKS[number % len(NETWORKS)]
        output = root / f"study{number % 3}" / f"exp{number:02d}"
        if output != first:
            shutil.copytree(first, output)
            scores = pd.read_csv(output / "scores.csv")
            scores["score"] += 0.01 * number
            scores.assign(network=network).to_csv(output / "scores.csv", index=False)
        name = f"{network.partition('/')[2]}-{number:02d}"
        describe(output, name=name, networks=[{"name": network, "weights": "default"}], encoders=["pls", "ridge"])
    return root


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three experiments with known scores, one that holds nothing yet and one whose settings are broken."""
    root = tmp_path_factory.mktemp("few")
    for name, bonus, rois in (
        ("low", 0.0, ["V1", "LOC"]),
        ("high", 0.2, ["V1", "LOC"]),
        ("middle", 0.1, ["V1", "mine"]),
    ):
        output = write_output(root / name, subjects=["ann", "bob"], rois=rois, name=name, bonus=bonus, seed=1)
        describe(output, networks=[{"name": f"own/{name}"}])
    (root / "begun" / "steps").mkdir(parents=True)
    (root / "broken").mkdir()
    (root / "broken" / "config.yaml").write_text("name: [")
    return root


@contextmanager
def serving(outputs: Path) -> Iterator[str]:
    """Serve the page over real sockets; yield its address, the key included."""
    uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is missing; pip install 'voxelcast[app]'")
    from voxelcast.app.site import make_site

    server = uvicorn.Server(uvicorn.Config(make_site([outputs], key="key"), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/?key=key"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def served() -> Iterator[Callable[[Path], str]]:
    """Serve outputs until the end of the test: ``served(outputs)`` is the address."""
    with ExitStack() as open_now:
        yield lambda outputs: open_now.enter_context(serving(outputs))
