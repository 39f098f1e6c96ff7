"""What has to change so that one set of policies becomes another: a plan to show, then to perform."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from scopegate.core.policies import endpoint_label, unlisted_word

if TYPE_CHECKING:
    from scopegate.core.policies import Policies

Value = tuple[str, ...]


class ChangeKind(StrEnum):
    """What happens to a subject."""

    ADD = "add"
    CHANGE = "change"
    REMOVE = "remove"


class Area(StrEnum):
    """The parts that policies have, in the order in which changes are shown."""

    SETTING = "setting"
    ENDPOINT = "endpoint"
    ROLE = "role"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    ``before`` and ``after`` are the sorted names that the subject has: the privileges of an
    endpoint or a role, the roles of a group, the one value of a setting. None means that there is
    no such subject; an empty tuple, that it has no names.
    """

    kind: ChangeKind
    area: Area
    name: str
    before: Value | None
    after: Value | None

    @property
    def subject(self) -> str:
        """What changes, such as ``endpoint GET /api/reports`` or ``role supervisor``."""
        return f"{self.area} {self.name}"

    def describe(self) -> str:
        """One line: ``+`` for an addition, ``-`` for a removal, ``~`` for a change.

        A change of names tells what comes and goes, then what there is afterwards.
        """
        sign = _SIGNS[self.kind]
        if self.before is None or self.after is None:
            return f"{sign} {self.subject}: {self._named(self.after or self.before)}"
        if self.area is Area.SETTING:
            return f"{sign} {self.subject}: {self._named(self.before)} -> {self._named(self.after)}"
        came = [f"+{name}" for name in self.after if name not in self.before]
        went = [f"-{name}" for name in self.before if name not in self.after]
        return f"{sign} {self.subject}: {' '.join(came + went)} (now {self._named(self.after)})"

    def _named(self, value: Value | None) -> str:
        if value:
            return ", ".join(value)
        return "open to every active user" if self.area is Area.ENDPOINT else "none"


def plan(current: Policies, desired: Policies) -> tuple[Change, ...]:
    """The changes that turn `current` into `desired`; none if the two are equal.

    They come by area, and within it sorted by URL or name, whatever their kind. What `desired` says
    nothing of, whether unlisted endpoints are open, stays as it is.
    """
    before, after = _facts(current), _facts(desired)
    if desired.unlisted_allowed is None:
        after[_UNLISTED] = before[_UNLISTED]
    subjects = sorted(before.keys() | after.keys(), key=_position)
    compared = ((subject, before.get(subject), after.get(subject)) for subject in subjects)
    return tuple(
        Change(_kind(was, will), *subject, was, will) for subject, was, will in compared if was != will
    )


def _facts(policies: Policies) -> dict[tuple[Area, str], Value]:
    """Everything that policies say, subject by subject; different policies give different facts."""
    facts: dict[tuple[Area, str], Value] = {_UNLISTED: (unlisted_word(allowed=policies.unlisted_allowed),)}
    for endpoint in policies.endpoints:
        facts[Area.ENDPOINT, endpoint_label(endpoint)] = tuple(sorted(endpoint.privileges))
    for role, privileges in policies.roles.items():
        facts[Area.ROLE, role] = tuple(sorted(privileges))
    for group, roles in policies.groups.items():
        facts[Area.GROUP, group] = tuple(sorted(roles))
    return facts


def _kind(before: Value | None, after: Value | None) -> ChangeKind:
    if before is None:
        return ChangeKind.ADD
    return ChangeKind.REMOVE if after is None else ChangeKind.CHANGE


def _position(subject: tuple[Area, str]) -> tuple[int, list[str]]:
    area, name = subject
    # "GET /api/users": the URL first, so that the entries of one URL stand together.
    return _AREAS.index(area), name.split(" ")[::-1]


_AREAS = tuple(Area)
_UNLISTED = (Area.SETTING, "unlisted_endpoints")
_SIGNS = {ChangeKind.ADD: "+", ChangeKind.CHANGE: "~", ChangeKind.REMOVE: "-"}
