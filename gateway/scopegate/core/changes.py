"""What has to change so that one set of policies becomes another: a plan to show, then to perform."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from scopegate.core.policies import endpoint_label, unlisted_word

if TYPE_CHECKING:
    from collections.abc import Mapping

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


Subject = tuple[Area, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    ``before`` and ``after`` are the sorted names that the subject has: the privileges of an
    endpoint or a role, the roles of a group, the one value of a setting. None means that there is
    no such subject; an empty tuple, that it has no names. ``summaries`` are what an endpoint is said to
    be for before and after, or None where that does not change.
    """

    kind: ChangeKind
    area: Area
    name: str
    before: Value | None
    after: Value | None
    summaries: tuple[str, str] | None = None

    @property
    def subject(self) -> str:
        """What changes, such as ``endpoint GET /api/reports`` or ``role supervisor``."""
        return f"{self.area} {self.name}"

    @property
    def takes_away(self) -> bool:
        """Whether something goes that was said: a subject, one of its names, or the value of a setting."""
        return not set(self.before or ()) <= set(self.after or ()) or self.after is None

    def describe(self) -> str:
        """One line: ``+`` for an addition, ``-`` for a removal, ``~`` for a change.

        A change of names tells what comes and goes, then what there is afterwards.
        """
        told = [told for told in (self._names(), self._summary()) if told]
        return f"{_SIGNS[self.kind]} {self.subject}: {'; '.join(told)}"

    def _names(self) -> str:
        if self.before is None or self.after is None:
            return self._named(self.after or self.before)
        if self.area is Area.SETTING:
            return f"{self._named(self.before)} -> {self._named(self.after)}"
        came = [f"+{name}" for name in self.after if name not in self.before]
        went = [f"-{name}" for name in self.before if name not in self.after]
        return f"{' '.join(came + went)} (now {self._named(self.after)})" if came or went else ""

    def _summary(self) -> str:
        if self.summaries is None or self.kind is ChangeKind.REMOVE:
            return ""
        before, after = map(_quoted, self.summaries)
        return f"summary {after}" if self.kind is ChangeKind.ADD else f"summary {before} -> {after}"

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
    said = _summaries(current), _summaries(desired)
    return tuple(
        Change(_kind(was, will), *subject, was, will, _differing(said, subject))
        for subject, was, will in compared
        if was != will or _differing(said, subject)
    )


def _summaries(policies: Policies) -> Mapping[Subject, str]:
    return {
        (Area.ENDPOINT, endpoint_label(endpoint)): endpoint.summary
        for endpoint in policies.endpoints
        if endpoint.summary
    }


def _differing(
    said: tuple[Mapping[Subject, str], Mapping[Subject, str]], subject: Subject
) -> tuple[str, str] | None:
    before, after = (summaries.get(subject, "") for summaries in said)
    return None if before == after else (before, after)


def _quoted(summary: str) -> str:
    return f'"{summary}"' if summary else "none"


def _facts(policies: Policies) -> dict[Subject, Value]:
    """What policies say of rights, subject by subject."""
    facts: dict[Subject, Value] = {_UNLISTED: (unlisted_word(allowed=policies.unlisted_allowed),)}
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


def _position(subject: Subject) -> tuple[int, list[str]]:
    area, name = subject
    # "GET /api/users": the URL first, so that the entries of one URL stand together.
    return _AREAS.index(area), name.split(" ")[::-1]


_AREAS = tuple(Area)
_UNLISTED = (Area.SETTING, "unlisted_endpoints")
_SIGNS = {ChangeKind.ADD: "+", ChangeKind.CHANGE: "~", ChangeKind.REMOVE: "-"}
