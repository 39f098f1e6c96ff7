"""What clients send, read into documents that have our attributes alone, by their own names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scopegate.core.scim.attributes import Attribute, Kind, Mutability, Type
from scopegate.core.scim.refusals import ScimRefused, ScimType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Document = dict[str, Any]


def read_resource(kind: Kind, body: Mapping[str, Any]) -> Document:
    """A resource that was sent, with those of its attributes that a client can write; null is no value.

    What is not kept, and what only the server writes, is ignored (RFC 7644 sections 3.3 and 3.5.1).

    Raises:
        ScimRefused: it does not say that it is one, or a value is of another type.
    """
    require_schema(body, kind.schema)
    document: Document = {}
    for name, value in body.items():
        extension = next((one for one in kind.extensions if one.lower() == name.lower()), None)
        if extension is not None:
            if value is not None:
                inner = _object(extension, value)
                found = _read(kind.extensions[extension], inner, document.get(extension, {}))
                if found:
                    document[extension] = found
        else:
            _read(kind.attributes, {name: value}, document)
    return document


def read_value(attribute: Attribute, value: Any) -> Any:  # noqa: ANN401 -- whatever JSON can say
    """The value of an attribute as it is kept; None where it says that there is none.

    A client may write a boolean as a text (Microsoft Entra ID does), one value where there may be
    several, and the value of such a value alone.

    Raises:
        ScimRefused: invalidValue: it is of another type.
    """
    if attribute.multi:
        if value is None:
            return None
        values = value if isinstance(value, list) else [value]
        return [_one(attribute, one) for one in values]
    return _one(attribute, value)


def require_schema(body: Mapping[str, Any], schema: str) -> None:
    """Make sure that a message says what it is (RFC 7643 section 3).

    Raises:
        ScimRefused: invalidSyntax.
    """
    said = body.get("schemas")
    if not isinstance(said, list) or schema.lower() not in {str(one).lower() for one in said}:
        raise ScimRefused(ScimType.INVALID_SYNTAX, f"schemas does not name {schema}.")


def _read(attributes: Iterable[Attribute], body: Mapping[str, Any], document: Document) -> Document:
    known = {attribute.name.lower(): attribute for attribute in attributes}
    for name, value in body.items():
        attribute = known.get(name.lower())
        if attribute is None or (attribute.mutability is Mutability.READ_ONLY):
            continue
        if attribute.name in document:
            raise ScimRefused(ScimType.INVALID_SYNTAX, f"{attribute.name} stands twice.")
        found = read_value(attribute, value)
        if found is not None:
            document[attribute.name] = found
    return document


def _one(attribute: Attribute, value: Any) -> Any:  # noqa: ANN401 -- as above
    match attribute.type:
        case _ if value is None:
            return None
        case Type.BOOLEAN:
            if isinstance(value, bool):
                return value
            if isinstance(value, str) and value.lower() in {"true", "false"}:
                return value.lower() == "true"
            raise ScimRefused(ScimType.INVALID_VALUE, f"{attribute.name} is true or false.")
        case Type.COMPLEX:
            if isinstance(value, str) and attribute.sub("value") is not None:
                return {"value": value}
            # The read-only parts of it that somebody sends may be of use: see people.formatted.
            known = {sub.name.lower(): sub for sub in attribute.subs}
            found = {
                known[name.lower()].name: read_value(known[name.lower()], one)
                for name, one in _object(attribute.name, value).items()
                if name.lower() in known
            }
            return {name: one for name, one in found.items() if one is not None}
        case _:
            if not isinstance(value, str):
                raise ScimRefused(ScimType.INVALID_VALUE, f"{attribute.name} is a text.")
            return value


def _object(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ScimRefused(ScimType.INVALID_VALUE, f"{name} is an object.")
    return value
