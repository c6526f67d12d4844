"""Miniatures: small copies of a data set's layout with a planted signal, for tests and tutorials."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from voxelcast.datasets.formats.algonauts2021 import Algonauts2021Dataset
from voxelcast.datasets.formats.algonauts2023 import Algonauts2023Dataset
from voxelcast.datasets.formats.algonauts2025 import Algonauts2025Dataset
from voxelcast.datasets.formats.bold_moments import BoldMomentsDataset
from voxelcast.testing.miniatures.algonauts2021 import write_algonauts2021
from voxelcast.testing.miniatures.algonauts2023 import write_algonauts2023
from voxelcast.testing.miniatures.algonauts2025 import write_algonauts2025
from voxelcast.testing.miniatures.bold_moments import write_bold_moments

MINIATURES: dict[str, Callable[[Path, int], None]] = {
    Algonauts2021Dataset.kind: write_algonauts2021,
    Algonauts2023Dataset.kind: write_algonauts2023,
    Algonauts2025Dataset.kind: write_algonauts2025,
    BoldMomentsDataset.kind: write_bold_moments,
}
"""Writer of a miniature of each kind with a fixed layout; called with the root and the seed."""
