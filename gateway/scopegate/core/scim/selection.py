"""Which attributes of a resource are in an answer (RFC 7644 section 3.9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scopegate.core.scim.attributes import Attribute, Kind, Returned
from scopegate.core.scim.grammar import target_of
from scopegate.core.scim.refusals import ScimRefused, ScimType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scopegate.core.scim.reading import Document


@dataclass(frozen=True, slots=True)
class Selection:
    """The attributes that are wanted, or those that are not; None: nothing is said."""

    wanted: tuple[str, ...] | None = None
    unwanted: tuple[str, ...] | None = None

    @classmethod
    def of(cls, wanted: Sequence[str] | None, unwanted: Sequence[str] | None) -> Selection:
        """The selection of these names.

        Raises:
            ScimRefused: both are given, which exclude each other.
        """
        if wanted and unwanted:
            raise ScimRefused(
                ScimType.INVALID_VALUE, "attributes and excludedAttributes exclude each other."
            )
        return cls(tuple(wanted) if wanted else None, tuple(unwanted) if unwanted else None)

    def includes(self, kind: Kind, name: str) -> bool:
        """Whether the attribute `name` of the resource itself is in the answer, at least in part."""
        if self.wanted is not None:
            return name in _named(kind, self.wanted).get(None, {})
        return _named(kind, self.unwanted or ()).get(None, {}).get(name, ()) is not None

    def apply(self, kind: Kind, document: Document) -> Document:
        """What is left of a resource. ``schemas`` and what is always returned stays."""
        if self.wanted is None and self.unwanted is None:
            return document
        named = _named(kind, self.wanted if self.wanted is not None else self.unwanted or ())
        if self.wanted is not None:
            return _chosen(kind, document, named)
        return _left(kind, document, named)


_Names = dict[str | None, dict[str, set[str] | None]]


def _named(kind: Kind, names: Sequence[str]) -> _Names:
    """Attribute -> its sub-attributes that are named, or None for all of it; by schema.

    What nobody knows is passed over (RFC 7644 section 3.9 has no error for it).
    """
    found: _Names = {}
    for name in names:
        schema = next((one for one in kind.extensions if one.lower() == name.lower()), None)
        if schema is not None:
            found[schema] = {attribute.name: None for attribute in kind.extensions[schema]}
            continue
        try:
            target = target_of(name, [kind], ScimType.INVALID_PATH)
        except ScimRefused:
            continue
        if target.attribute is None or not target.keeps:
            continue
        of_schema = found.setdefault(target.schema, {})
        subs = of_schema.setdefault(target.attribute.name, set())
        if target.sub is None:
            of_schema[target.attribute.name] = None
        elif subs is not None:
            subs.add(target.sub.name)
    return found


def _chosen(kind: Kind, document: Document, named: _Names) -> Document:
    made: Document = {}
    for name, value in document.items():
        if name in kind.extensions:
            inner = {sub: one for sub, one in value.items() if sub in named.get(name, {})}
            if inner:
                made[name] = inner
        elif name == "schemas" or _always(kind.attribute(name)):
            made[name] = value
        elif name in (of_own := named.get(None, {})):
            subs = of_own[name]
            found = value if subs is None else _parts(value, lambda sub, subs=subs: sub in subs)
            if found not in ({}, []):
                made[name] = found
    return made


def _left(kind: Kind, document: Document, named: _Names) -> Document:
    made: Document = {}
    for name, value in document.items():
        if name in kind.extensions:
            inner = {sub: one for sub, one in value.items() if sub not in named.get(name, {})}
            if inner:
                made[name] = inner
            continue
        of_own = named.get(None, {})
        if name == "schemas" or name not in of_own or _always(kind.attribute(name)):
            made[name] = value
            continue
        subs = of_own[name]
        if subs is not None:
            found = _parts(value, lambda sub, subs=subs: sub not in subs)
            if found not in ({}, []):
                made[name] = found
    return made


def _always(attribute: Attribute | None) -> bool:
    return attribute is not None and attribute.returned is Returned.ALWAYS


def _parts(value: Any, keeps: Any) -> Any:  # noqa: ANN401 -- a complex value, or several
    if isinstance(value, list):
        return [part for part in (_parts(one, keeps) for one in value) if part]
    return {sub: one for sub, one in value.items() if keeps(sub)}
