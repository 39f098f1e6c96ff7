"""Whether a resource fits a filter (RFC 7644 section 3.4.2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from scopegate.core.scim import grammar
from scopegate.core.scim.grammar import All, Comparison, Each, Not, Operator, Present, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from scopegate.core.scim.attributes import Attribute
    from scopegate.core.scim.grammar import Filter, Literal


def fits(condition: Filter, document: Mapping[str, Any]) -> bool:
    """Whether a resource, written as a document, fits the filter.

    What has no value is null: it is equal to null alone, and unequal to all else.
    """
    match condition:
        case All(parts):
            return all(fits(part, document) for part in parts)
        case grammar.Any(parts):
            return any(fits(part, document) for part in parts)
        case Not(part):
            return not fits(part, document)
        case Each(target, inner):
            return any(value_fits(inner, value) for value in _whole(target, document))
        case Present(target):
            return any(map(_is_something, _found(target, document)))
        case Comparison(target, operator, wanted):
            return _any_compares(_found(target, document), operator, wanted, target.leaf)
        case _:
            assert_never(condition)


def value_fits(condition: Filter, value: Mapping[str, Any]) -> bool:
    """Whether one value of a multi-valued attribute fits the condition of a value path."""
    match condition:
        case All(parts):
            return all(value_fits(part, value) for part in parts)
        case grammar.Any(parts):
            return any(value_fits(part, value) for part in parts)
        case Not(part):
            return not value_fits(part, value)
        case Present(target):
            return any(map(_is_something, _of_value(target, value)))
        case Comparison(target, operator, wanted):
            return _any_compares(_of_value(target, value), operator, wanted, target.leaf)
        case Each():
            return False  # the grammar has none within another
        case _:
            assert_never(condition)


def targets(condition: Filter) -> Iterator[Target]:
    """All that a condition asks for."""
    match condition:
        case All(parts) | grammar.Any(parts):
            for part in parts:
                yield from targets(part)
        case Not(part):
            yield from targets(part)
        case Each(target, inner):
            yield target
            yield from targets(inner)
        case Present(target) | Comparison(target):
            yield target
        case _:
            assert_never(condition)


def conjuncts(condition: Filter) -> Iterator[Filter]:
    """The parts all of which have to hold, as far as that can be seen."""
    if isinstance(condition, All):
        for part in condition.parts:
            yield from conjuncts(part)
    else:
        yield condition


def _whole(target: Target, document: Mapping[str, Any]) -> list[Any]:
    """The values of an attribute."""
    if target.attribute is None:
        return []
    where: Any = document if target.schema is None else document.get(target.schema, {})
    found = where.get(target.attribute.name)
    if found is None:
        return []
    return found if isinstance(found, list) else [found]


def _found(target: Target, document: Mapping[str, Any]) -> list[Any]:
    """The values of what a filter names."""
    return [one for value in _whole(target, document) for one in _of_value(target, value)]


def _of_value(target: Target, value: Any) -> list[Any]:  # noqa: ANN401 -- whatever JSON can say
    if not target.keeps:
        return []
    if target.sub is None:
        return [value]
    found = value.get(target.sub.name) if isinstance(value, dict) else None
    return [] if found is None else [found]


def _is_something(value: object) -> bool:
    return value not in (None, "", {})


def _any_compares(
    values: list[Any], operator: Operator, wanted: Literal, attribute: Attribute | None
) -> bool:
    exact = attribute is not None and attribute.case_exact
    return any(_compares(value, operator, wanted, exact=exact) for value in values or [None])


def _compares(value: Any, operator: Operator, wanted: Literal, *, exact: bool) -> bool:  # noqa: ANN401
    if isinstance(value, str) and isinstance(wanted, str) and not exact:
        value, wanted = value.casefold(), wanted.casefold()
    same = type(value) is type(wanted) and value == wanted
    if operator is Operator.EQUAL:
        return same
    if operator is Operator.NOT_EQUAL:
        return not same
    if not isinstance(value, str) or not isinstance(wanted, str):
        return False  # only texts have an order here
    return _OF_TEXTS[operator](value, wanted)


_OF_TEXTS: Mapping[Operator, Callable[[str, str], bool]] = {
    Operator.CONTAINS: str.__contains__,
    Operator.STARTS: str.startswith,
    Operator.ENDS: str.endswith,
    Operator.GREATER: str.__gt__,
    Operator.LESS: str.__lt__,
    Operator.GREATER_OR_EQUAL: str.__ge__,
    Operator.LESS_OR_EQUAL: str.__le__,
}
