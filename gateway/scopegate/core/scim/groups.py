"""A group of the directory as a SCIM group (RFC 7643 section 4.2), and patches of its members."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from scopegate.core.directory import require_group
from scopegate.core.principal import Group
from scopegate.core.scim import grammar
from scopegate.core.scim.attributes import GROUP, GROUP_SCHEMA, USER
from scopegate.core.scim.grammar import Comparison, Operator
from scopegate.core.scim.patching import Op
from scopegate.core.scim.people import location
from scopegate.core.scim.reading import read_value
from scopegate.core.scim.refusals import ScimRefused, ScimType

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from scopegate.core.scim.attributes import Attribute
    from scopegate.core.scim.grammar import Filter
    from scopegate.core.scim.patching import Operation
    from scopegate.core.scim.reading import Document

_LONGEST_SLUG = 90  # characters, so that a number fits behind it
_OTHERS = re.compile(r"[^a-z0-9]+")


def group_document(group: Group, members: Iterable[str] | None, base: str) -> Document:
    """A group with all that is kept, but for the version.

    Args:
        group: which.
        members: the ids of its members, by id; None where they are not wanted.
        base: the URI that all resources are below.
    """
    document: Document = {"schemas": [GROUP_SCHEMA], "id": group.id, "displayName": group.name}
    if group.external_id is not None:
        document["externalId"] = group.external_id
    if members is not None:
        document["members"] = [
            {"value": user_id, "$ref": location(base, USER, user_id), "type": USER.name}
            for user_id in members
        ]
        if not document["members"]:
            del document["members"]
    document["meta"] = {"resourceType": GROUP.name, "location": location(base, GROUP, group.id)}
    return document


def group_of(document: Document, group_id: str) -> Group:
    """The group that a document describes, without its members.

    Raises:
        ScimRefused: it has no name.
        InvalidInput: a value breaks a rule of the directory.
    """
    name = document.get("displayName", "")
    if not name:
        raise ScimRefused(ScimType.INVALID_VALUE, "displayName is required.")
    return require_group(Group(id=group_id, name=name, external_id=document.get("externalId") or None))


def id_for(name: str, *, taken: Collection[str], in_policies: Collection[str]) -> str:
    """The id of a new group: that by which policies know it, so that its members get their roles.

    Args:
        name: what it is called: ``Quality Managers`` has the id ``quality-managers``.
        taken: the ids of the groups that there are.
        in_policies: the ids of the groups that policies know.
    """
    wanted = _slug(name)
    known = [group_id for group_id in sorted(in_policies) if _slug(group_id) == wanted]
    exactly = [group_id for group_id in known if group_id == name]
    free = [group_id for group_id in (*exactly, *known, wanted) if group_id not in taken]
    if free:
        return free[0]
    # A name that policies know is not given to a group that is not called so.
    numbered = (f"{wanted}-{number}" for number in count(2))
    return next(one for one in numbered if one not in taken and one not in in_policies)


def same_name(one: str, other: str) -> bool:
    """Whether two groups are called the same, whatever the letter case (RFC 7643: caseExact false)."""
    return one.casefold() == other.casefold()


@dataclass(slots=True)
class MemberChanges:
    """Those of now, or nobody if ``replaced``, with ``added`` and without ``removed``."""

    replaced: bool = False
    added: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)


def member_changes(operations: Iterable[Operation]) -> MemberChanges:
    """What the operations on the members of a group do together, in their order.

    Who the members are is not needed for it, so that one more costs the same in a group of ten thousand.

    Raises:
        ScimRefused: one of them cannot be done.
    """
    made = MemberChanges()
    for operation in operations:
        if operation.path.target.sub is not None:
            raise ScimRefused(ScimType.MUTABILITY, "A member is added or removed, and never changed.")
        if operation.path.condition is not None:
            if operation.op is not Op.REMOVE:
                raise ScimRefused(ScimType.MUTABILITY, "A member is added or removed, and never changed.")
            named = set(_ids_in(operation.path.condition))
        elif operation.op is Op.REMOVE and operation.value is None:
            made = MemberChanges(replaced=True)
            continue
        else:
            named = set(member_ids(operation.path.target.attribute, operation.value))
        if operation.op is Op.REPLACE:
            made = MemberChanges(replaced=True, added=named)
        elif operation.op is Op.ADD:
            made.added |= named
            made.removed -= named
        else:
            made.added -= named
            made.removed |= named
    return made


def member_ids(attribute: Attribute | None, value: Any) -> list[str]:  # noqa: ANN401 -- whatever JSON can say
    """The ids of the people that a value of ``members`` names.

    Raises:
        ScimRefused: invalidValue: it names no person.
    """
    if attribute is None:
        return []
    found = []
    for one in read_value(attribute, value) or []:
        member = (one or {}).get("value")
        if not member:
            raise ScimRefused(ScimType.INVALID_VALUE, "A member has no value, which is the id of a user.")
        if str(one.get("type", USER.name)).lower() != USER.name.lower():
            raise ScimRefused(ScimType.INVALID_VALUE, "The members of a group are users.")
        found.append(member)
    return found


def compared_members(condition: Filter) -> set[str]:
    """The ids of the people whom a filter of groups compares members with.

    Raises:
        ScimRefused: invalidFilter: it compares them otherwise than by ``eq``.
    """
    match condition:
        case grammar.All(parts) | grammar.Any(parts):
            return set().union(*(compared_members(part) for part in parts))
        case grammar.Not(part):
            return compared_members(part)
        case grammar.Each(target, inner):
            return set(_ids_in(inner)) if _is_members(target) else set()
        case Comparison(target, operator, value) if _is_members(target):
            if operator is Operator.EQUAL and isinstance(value, str):
                return {value}
        case grammar.Present(target) if _is_members(target):
            pass
        case _:
            return set()
    raise ScimRefused(ScimType.INVALID_FILTER, "Members of groups can be compared by value eq alone.")


def _is_members(target: grammar.Target) -> bool:
    return target.attribute is not None and target.attribute.name == "members"


def _ids_in(condition: Filter) -> list[str]:
    """The ids that ``value eq "..." or value eq "..."`` names.

    Raises:
        ScimRefused: invalidFilter: it says something else.
    """
    if isinstance(condition, grammar.Any):
        return [one for part in condition.parts for one in _ids_in(part)]
    if (
        isinstance(condition, Comparison)
        and condition.operator is Operator.EQUAL
        and condition.target.sub is not None
        and condition.target.sub.name == "value"
        and isinstance(condition.value, str)
    ):
        return [condition.value]
    raise ScimRefused(ScimType.INVALID_FILTER, "Members of groups can be compared by value eq alone.")


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode("ascii")
    return _OTHERS.sub("-", plain)[:_LONGEST_SLUG].strip("-") or "group"
