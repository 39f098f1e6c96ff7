"""Which attributes of a resource are in an answer (RFC 7644 section 3.9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scopegate.core.scim.attributes import Attribute, Kind, Returned, Type
from scopegate.core.scim.grammar import target_of
from scopegate.core.scim.refusals import ScimRefused, ScimType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
            raise ScimRefused(ScimType.INVALID_VALUE, "attributes and excludedAttributes exclude each other.")
        return cls(tuple(wanted) if wanted else None, tuple(unwanted) if unwanted else None)

    def includes(self, kind: Kind, name: str) -> bool:
        """Whether the attribute `name` of the resource itself is in the answer, at least in part."""
        if self.wanted is not None:
            return name in _named(kind, self.wanted).get(None, {})
        return _named(kind, self.unwanted or ()).get(None, {}).get(name, ()) is not None

    def apply(self, kind: Kind, document: Document) -> Document:
        """What is left of a resource. ``schemas`` and what is always returned stays."""
        named = _named(kind, (self.unwanted or ()) if self.wanted is None else self.wanted)
        made: Document = {}
        for name, value in document.items():
            if name == "schemas":
                made[name] = value
            elif name in kind.extensions:
                inner = self._of_attributes(kind.extensions[name], value, named.get(name, {}))
                if inner:
                    made[name] = inner
        return made | self._of_attributes(kind.attributes, document, named.get(None, {}))

    def _of_attributes(self, attributes: Iterable[Attribute], values: Document, named: _Named) -> Document:
        shown = {
            attribute.name: self._of_value(attribute, values[attribute.name], named)
            for attribute in attributes
            if attribute.name in values
        }
        return {name: value for name, value in shown.items() if value not in (None, {}, [])}

    def _of_value(self, attribute: Attribute, value: Any, named: _Named) -> Any:  # noqa: ANN401 -- JSON
        if attribute.returned is Returned.ALWAYS:
            return value
        is_named, subs = attribute.name in named, named.get(attribute.name)
        if self.wanted is not None and not is_named:
            return None
        if self.wanted is None and is_named and subs is None:
            return None
        if attribute.type is not Type.COMPLEX:
            return value
        kept = {one.name for one in attribute.subs if self._keeps(one, subs)}
        return _parts(value, kept)

    def _keeps(self, sub: Attribute, named: set[str] | None) -> bool:
        if self.wanted is not None and named is not None:
            return sub.name in named
        return sub.returned is not Returned.REQUEST and sub.name not in (named or ())


_Named = dict[str, set[str] | None]
_Names = dict[str | None, _Named]


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


def _parts(value: Any, kept: set[str]) -> Any:  # noqa: ANN401 -- a complex value, or several
    if isinstance(value, list):
        return [part for part in (_parts(one, kept) for one in value) if part]
    return {sub: one for sub, one in value.items() if sub in kept}
