"""What of a filter of users the search of the directory can answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.core.scim.attributes import ENTERPRISE_SCHEMA
from scopegate.core.scim.grammar import Comparison, Each, Operator
from scopegate.core.scim.matching import conjuncts
from scopegate.core.usersearch import Condition, UserField, UserSearch
from scopegate.core.usersearch import Operator as Meets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scopegate.core.scim.grammar import Filter, Target

# What nobody has whose user name is the id is not here: the user name.
_FIELDS = {
    (None, "externalId", None): UserField.EXTERNAL_ID,
    (None, "displayName", None): UserField.NAME,
    (None, "emails", "value"): UserField.EMAIL,
    (None, "groups", "value"): UserField.GROUP,
    (None, "roles", "value"): UserField.ROLE,
    (ENTERPRISE_SCHEMA, "organization", None): UserField.ORGANIZATION,
}
_ACTIVE = (None, "active", None)
_MEETS = {
    Operator.EQUAL: Meets.EQUALS,
    Operator.CONTAINS: Meets.CONTAINS,
    Operator.STARTS: Meets.STARTS,
    Operator.ENDS: Meets.ENDS,
}


def search_for(condition: Filter) -> UserSearch | None:
    """A search that admits everybody who fits the filter, and others perhaps; None if it would admit all.

    The directory sees fewer differences than a filter: what is equal for a filter is equal for it too.
    """
    active, found = None, []
    for comparison in _comparisons(condition):
        value, target = comparison.value, comparison.target
        name = _name(target)
        field = None if name is None else _FIELDS.get(name)
        if field is not None and comparison.operator in _MEETS and isinstance(value, str):
            found.append(Condition(field, _MEETS[comparison.operator], value))
        elif name == _ACTIVE and comparison.operator is Operator.EQUAL:
            active = value if isinstance(value, bool) else active
    if not found and active is None:
        return None
    return UserSearch(conditions=tuple(found), active=active)


def _comparisons(condition: Filter) -> Iterator[Comparison]:
    """The comparisons all of which have to hold."""
    for part in conjuncts(condition):
        if isinstance(part, Comparison):
            yield part
        elif isinstance(part, Each):
            yield from (one for one in conjuncts(part.condition) if isinstance(one, Comparison))


def _name(target: Target) -> tuple[str | None, str, str | None] | None:
    if target.attribute is None or not target.keeps:
        return None
    return target.schema, target.attribute.name, None if target.sub is None else target.sub.name
