"""The challenges that there are: ours, and those of packages with an entry point ``voxelcast.challenges``."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from voxelcast.challenges.base import Challenge, mixed
from voxelcast.core.checks import check_option
from voxelcast.core.registry import Registry
from voxelcast.datasets.base import Dataset

CHALLENGES: Final[Registry[type[Challenge]]] = Registry(
    "challenge", "voxelcast.challenges", [f"voxelcast.challenges.algonauts{year}" for year in (2021, 2023, 2025)]
)

C = TypeVar("C", bound=type[Challenge])


def register_challenge(challenge: C) -> C:
    """Enter a challenge under its ``name``; to be used as a decorator.

    Raises
    ------
    OptionError
        If the name is taken.

    Examples
    --------
    >>> import voxelcast as vc
    >>> from voxelcast.challenges.algonauts2021 import Algonauts2021
    >>> @vc.register_challenge
    ... class OurChallenge(Algonauts2021):
    ...     name = "our_challenge"
    >>> vc.list_challenges("our*")
    ('our_challenge',)
    """
    CHALLENGES.add(challenge.name, challenge)
    return challenge


def list_challenges(pattern: str = "*") -> tuple[str, ...]:
    """List the challenges whose names match a shell pattern, sorted.

    Examples
    --------
    >>> import voxelcast as vc
    >>> vc.list_challenges("algonauts*")
    ('algonauts2021', 'algonauts2023', 'algonauts2025')
    """
    return CHALLENGES.names(pattern)


def challenge_of(datasets: Sequence[Dataset]) -> Challenge:
    """Return the challenge that datasets name; raise DataError where they name several."""
    if len({dataset.challenge for dataset in datasets}) > 1:
        raise mixed(datasets)
    return CHALLENGES.get(datasets[0].challenge)()


def challenge_of_file(path: Path) -> Challenge:
    """Return the challenge whose submissions have such a name; that of 2021, which says what it asks for, for others.

    Examples
    --------
    >>> challenge_of_file(Path("algonauts2023.zip")).title
    'Algonauts 2023'
    """
    for name in CHALLENGES:
        patterns = [pattern for listed in CHALLENGES.get(name).files.values() for pattern in listed]
        if any(fnmatchcase(path.stem, PurePosixPath(pattern).stem) for pattern in patterns):
            return CHALLENGES.get(name)()
    return CHALLENGES.get("algonauts2021")()


def challenge_of_rule(rule: str) -> Challenge:
    """Return the challenge whose official score has this name, e.g. ``"2023"``; raise OptionError if there is none."""
    by_rule = {CHALLENGES.get(name).rule: CHALLENGES.get(name) for name in CHALLENGES}
    check_option("rule", rule, tuple(by_rule))
    return by_rule[rule]()
