"""Families that grow: members by name, of voxelcast and of packages that add to it.

A member enters by a decorator (`Registry.register`), or by an entry point of the registry's group, which a package
declares in its ``pyproject.toml``::

    [project.entry-points."voxelcast.encoders"]
    my_encoder = "my_package.encoders"

An entry point names a module whose import registers its members, or a member itself. Nothing is imported before a name
is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Generic, TypeVar, cast

from voxelcast.core.checks import check_known
from voxelcast.core.errors import MissingPackageError, OptionError

T = TypeVar("T")
MemberT = TypeVar("MemberT")
"""A member of more than T's type, which a decorator gives back as it is."""


class Registry(Generic[T]):
    """Members of one family by name.

    Parameters
    ----------
    what : str
        What a member is called in messages, e.g. ``"encoder"``.
    group : str
        Entry points of other packages, e.g. ``"voxelcast.encoders"``.
    modules : sequence of str
        Our own modules that register members, imported when a member is first asked for.
    remedy : str
        What the user can do about an unknown name, e.g. ``"List them: voxelcast encoders list"``.

    Examples
    --------
    >>> pools = Registry("pool", "voxelcast.pools")
    >>> @pools.register("first")
    ... def first(frames):
    ...     return frames[0]
    >>> pools.names("f*"), pools.get("first") is first
    (('first',), True)
    """

    def __init__(self, what: str, group: str, modules: Sequence[str] = (), remedy: str = "") -> None:
        self.what, self._group, self._modules, self._remedy = what, group, tuple(modules), remedy
        self._members: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[MemberT], MemberT]:
        """Return a decorator that enters what it decorates under a name; raises as `add`."""

        def enter(member: MemberT) -> MemberT:
            self.add(name, cast(T, member))
            return member

        return enter

    def add(self, name: str, member: T) -> None:
        """Enter a member; raises OptionError if the name is taken by something else."""
        there = self._members.setdefault(name, member)
        origins = [(getattr(one, "__qualname__", one), getattr(one, "__module__", None)) for one in (there, member)]
        if there is not member and origins[0] != origins[1]:
            raise OptionError(
                f"the {self.what} {name!r} is there already ({there!r}); register yours under another name"
            )
        self._members[name] = member

    def get(self, name: str) -> T:
        """Return a member; raises UnknownNameError, which offers the nearest names."""
        self._load()
        check_known(self.what, name, sorted(self._members), remedy=self._remedy)
        return self._members[name]

    def names(self, pattern: str = "*") -> tuple[str, ...]:
        """List the names that match a shell pattern, sorted."""
        self._load()
        return tuple(sorted(name for name in self._members if fnmatchcase(name, pattern)))

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for module in self._modules:
            import_module(module)
        for point in entry_points(group=self._group):
            try:
                found = point.load()
            except Exception as error:  # whatever another package's import raises
                self._loaded = False
                package = point.dist.name if point.dist else "?"
                raise MissingPackageError(
                    f"{self.what} {point.name!r} of the package {package} cannot be imported ({error}); mend or "
                    "uninstall that package"
                ) from error
            if not isinstance(found, ModuleType):
                self.add(point.name, found)
