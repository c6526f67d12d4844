"""The model card for people: README.md in the layout of the Hugging Face Hub, written from the card alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from voxelcast.models.card import Card, PairCard
from voxelcast.store.atomic import write_text

_NOT_FOR: Final = (
    "Medical or legal decisions, or conclusions about a person: it predicts average responses of the subjects named.",
    "Stimuli unlike those that it was fitted to: scores say nothing of them.",
    "Any use that the licence of the data or of the network's weights, above, forbids; predictions derive from both.",
    "Evidence that a region computes what the network does: a good prediction is compatible with many mechanisms.",
)


def write_readme(folder: Path, card: Card) -> None:
    """Write README.md beside the card."""
    write_text(folder / "README.md", readme(card))


def readme(card: Card) -> str:
    """Return the model card as Markdown with the Hub's YAML head."""
    head = {
        "library_name": "voxelcast",
        "license": "other",
        "license_name": "see-data-and-weights",
        "tags": ["fmri", "encoding-model", "neuroscience", "voxelcast"],
    }
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# Encoding models: {_plain(card.name)}",
        *_body(card),
    ]
    return "\n\n".join(parts) + "\n"


def card_lines(card: Card) -> list[str]:
    """Return what the card says as lines for a terminal."""
    return "\n\n".join(_body(card)).replace("`", "").splitlines()


def _body(card: Card) -> list[str]:
    about = card.about
    data = _mapping(about.get("dataset"))
    return [
        f"They predict the responses of {len(card.pairs)} subject x ROI to videos or images, from the features of deep "
        f"networks. Use: `voxelcast predict FOLDER STIMULI`, or `voxelcast.load_encoder(FOLDER).predict(stimuli)`.",
        _section(
            "Data",
            [
                f"{_plain(data.get('title'))}; licence: {_plain(data.get('licence'))}; unit of responses: "
                f"{_plain(', '.join(dict.fromkeys(pair.unit for pair in card.pairs)))}.",
                f"{about.get('n_train')} stimuli to fit, {about.get('n_held_out')} held out.",
            ],
        ),
        _section("Networks", _networks(card)),
        "## Scores\n\n" + _scores(card),
        _section("How they were chosen", _chosen(about)),
        _section("Not for", _NOT_FOR),
        _section("Cite", [f"the data: {_plain(data.get('citation'))}", "the networks, and voxelcast (CITATION.cff)"]),
        _section("Made with", _made(card)),
        _section("What a reader has to know", list(map(_plain, about.get("notes") or ["nothing more"]))),
    ]


def _section(title: str, items: Iterable[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {item}" for item in items)


def _networks(card: Card) -> list[str]:
    weighed: dict[str, list[str]] = {}
    for layer in card.layers.values():
        if not layer.members:
            weighed.setdefault(layer.network, []).append(layer.layer)
    told = _mapping(card.about.get("networks"))
    lines = []
    for name, layers in weighed.items():
        facts = _mapping(told.get(name))
        weights = f"weights {_plain(facts.get('weights'))}, hash {_plain(facts.get('weights_hash'))}"
        licence = f"licence of the weights: {_plain(facts.get('licence'))}"
        of = f"{weights}; {licence}; " if facts else "features that come with the data; "
        lines.append(f"{_plain(name)}: {of}layers {', '.join(map(_plain, dict.fromkeys(layers)))}")
    return lines


def _scores(card: Card) -> str:
    """Return a table of scores."""
    level = card.about.get("level")
    columns = ["subject", "ROI", "voxels", "r", f"interval ({level})", "noise ceiling r", "significant", "from"]
    rows = [columns, ["---"] * len(columns), *map(_score_row, card.pairs)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _score_row(pair: PairCard) -> list[str]:
    scores = pair.scores
    interval = f"{_number(scores.get('score_low'))} to {_number(scores.get('score_high'))}"
    significant = scores.get("n_significant_voxels")
    return [
        _plain(pair.subject),
        _plain(pair.roi),
        str(pair.n_voxels),
        _number(scores.get("score")),
        interval if scores.get("score_low") is not None else "none",
        _number(scores.get("noise_ceiling_r")),
        "not tested" if significant is None else str(significant),
        _plain(scores.get("score_from")),
    ]


def _chosen(about: Mapping[str, Any]) -> list[str]:
    nested = "nested cross-validation, on folds that no choice saw" if about.get("nested") else "no nested folds"
    return [
        f"Layer, encoder and hyper-parameters by cross-validation on the training stimuli; encoders: "
        f"{', '.join(map(_plain, about.get('encoders') or []))}; ensemble: {_plain(about.get('ensemble'))}.",
        f"Scores come from {nested}; the selection score that chose is higher and is not shown.",
    ]


def _made(card: Card) -> list[str]:
    made = _mapping(card.about.get("provenance"))
    git = _mapping(made.get("git")).get("commit")
    packages = ", ".join(f"{name} {version}" for name, version in _mapping(made.get("packages")).items())
    return [f"voxelcast {card.voxelcast}{f' ({git})' if git else ''}, Python {made.get('python')}; {_plain(packages)}"]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> str:
    return "none" if not isinstance(value, int | float) else f"{value:.3f}"


def _plain(value: Any) -> str:
    """Return text in one line that makes no table or link of itself."""
    text = " ".join(str("unknown" if value is None else value).split())
    return "".join(f"\\{one}" if one in "|<>[]" else one for one in text)
