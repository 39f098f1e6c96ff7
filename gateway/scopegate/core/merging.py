"""What becomes of policies in force when policy files are applied: what the files do not name stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scopegate.core.changes import Area
from scopegate.core.errors import InvalidInput
from scopegate.core.policies import Policies, endpoint_label

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_ALL = "all"
_AREAS = (Area.ENDPOINT, Area.ROLE, Area.GROUP)
_FORMS = f"Write {_ALL}, {', '.join(_AREAS)}, or one of these with a pattern, such as role:temp-*."


@dataclass(frozen=True, slots=True)
class Selector:
    """Which of the things that the files do not name are to go.

    ``area`` is None for all of them. ``pattern`` is compared with the whole name, an endpoint's with its URL
    or with its methods and URL (``GET,POST /api/notes``); ``*`` in it stands for any run of characters.
    """

    area: Area | None = None
    pattern: str = "*"

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Read ``all``, ``role`` or ``role:temp-*``.

        Raises:
            InvalidInput: that selects nothing that there could be.
        """
        kind, colon, pattern = text.partition(":")
        if kind == _ALL and not colon:
            return cls()
        if kind == _ALL or kind not in _AREAS or (colon and not pattern):
            raise InvalidInput("prune", f"{text!r} selects nothing.", hint=_FORMS, code="selector_invalid")
        return cls(Area(kind), pattern or "*")

    def admits(self, area: Area, name: str) -> bool:
        """Whether this is one of them; `name` is as a plan of changes has it."""
        if self.area not in {None, area}:
            return False
        names = (name, name.partition(" ")[2]) if area is Area.ENDPOINT else (name,)
        return any(_matches(self.pattern, one) for one in names)


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that no file names, and that stays."""

    area: Area
    name: str

    @property
    def subject(self) -> str:
        """What it is, as `Change.subject`."""
        return f"{self.area} {self.name}"

    def describe(self) -> str:
        """One line, as `Change.describe`, with the sign ``=``."""
        return f"= {self.subject}: kept, for no file names it"


@dataclass(frozen=True, slots=True)
class Merged:
    """The policies that are to be in force, and what of them is there only because it was there."""

    policies: Policies
    kept: tuple[Kept, ...]


def merge(current: Policies, said: Policies, prune: Collection[Selector] = ()) -> Merged:
    """Make what is `said` hold, leave the rest of `current` as it is, and drop of that what `prune` selects.

    An endpoint, a role or a group that is said has just the names that are said of it.

    Raises:
        InvalidInput: a group would hold a role that is dropped.
    """

    def rest(area: Area, there: Collection[str], named: Collection[str]) -> set[str]:
        unnamed = (name for name in there if name not in named)
        return {name for name in unnamed if not any(one.admits(area, name) for one in prune)}

    present = {endpoint_label(endpoint): endpoint for endpoint in current.endpoints}
    endpoints = rest(Area.ENDPOINT, present, {endpoint_label(endpoint) for endpoint in said.endpoints})
    roles = rest(Area.ROLE, current.roles, said.roles)
    groups = rest(Area.GROUP, current.groups, said.groups)
    _require_roles({name: current.groups[name] for name in groups}, {*roles, *said.roles})
    policies = Policies(
        endpoints=(*said.endpoints, *(present[label] for label in endpoints)),
        unlisted_allowed=current.unlisted_allowed if said.unlisted_allowed is None else said.unlisted_allowed,
        roles={**{name: current.roles[name] for name in roles}, **said.roles},
        groups={**{name: current.groups[name] for name in groups}, **said.groups},
    )
    return Merged(policies, tuple(_in_order(policies, endpoints, roles, groups)))


def _require_roles(groups: Mapping[str, frozenset[str]], roles: Collection[str]) -> None:
    for group, held in sorted(groups.items()):
        for role in sorted(held):
            if role not in roles:
                raise InvalidInput(
                    "prune",
                    f"The group {group!r} stays and holds the role {role!r}, which would go.",
                    hint=f"Let the group go too (--prune group:{group}), or keep the role.",
                    code="role_in_use",
                )


def _in_order(
    policies: Policies, endpoints: Collection[str], roles: Collection[str], groups: Collection[str]
) -> Iterator[Kept]:
    for endpoint in policies.endpoints:
        if endpoint_label(endpoint) in endpoints:
            yield Kept(Area.ENDPOINT, endpoint_label(endpoint))
    yield from (Kept(Area.ROLE, name) for name in sorted(roles))
    yield from (Kept(Area.GROUP, name) for name in sorted(groups))


def _matches(pattern: str, text: str) -> bool:
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    if not text.startswith(first):
        return False
    at = len(first)
    for piece in rest[:-1]:
        found = text.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return len(text) - len(rest[-1]) >= at and text.endswith(rest[-1])
