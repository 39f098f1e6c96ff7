"""Keys as documents, to be kept or taken elsewhere: without secrets and digests, so they open nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from scopegate.core.deeds import moment_text
from scopegate.core.errors import InvalidInput
from scopegate.core.keys import KeyRecord, KeyType, Rule
from scopegate.core.lifetimes import NOT_GIVEN

if TYPE_CHECKING:
    from scopegate.core.deeds import JsonObject
    from scopegate.core.lifetimes import NotGiven

_TOLD = frozenset({"id", "created_at"})  # of the key that was exported; the new one has its own
_FIELDS = frozenset({"type", "description", "enabled", "expires_at", "user", "rules"})


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDocument:
    """What a new key is made of that is like one in a document."""

    type: KeyType
    description: str
    enabled: bool
    expires_at: datetime | NotGiven | None
    user: str | None
    rules: tuple[Rule, ...]


def document_of(record: KeyRecord) -> JsonObject:
    """A key as a document, for JSON."""
    return {
        "id": record.id,
        "type": record.type.value,
        "description": record.description,
        "enabled": record.enabled,
        "created_at": moment_text(record.created_at),
        "expires_at": None if record.expires_at is None else moment_text(record.expires_at),
        "user": record.user,
        "rules": [{"method": rule.method, "url": rule.url} for rule in record.rules],
    }


def read_document(document: object) -> KeyDocument:
    """What a document says. Without an expiry the tenant's settings count; `enabled` is then true, and so on.

    Raises:
        InvalidInput: it says something else, or something more, which may be a restriction.
    """
    if not isinstance(document, dict):
        raise _wrong("", "A key is an object.")
    unknown = sorted(str(name) for name in document.keys() - _FIELDS - _TOLD)
    if unknown:
        raise _wrong(unknown[0], f"A key has no field {unknown[0]!r}.")
    for name, kinds, what in (
        ("type", (str,), "a text"),
        ("description", (str,), "a text"),
        ("enabled", (bool,), "true or false"),
        ("expires_at", (str, type(None)), "a date and time, or null for never"),
        ("user", (str, type(None)), "the id of a user, or null for all"),
        ("rules", (list,), "a list"),
    ):
        if name in document and not isinstance(document[name], kinds):
            raise _wrong(name, f"{name} has to be {what}.")
    if document.get("type") not in list(KeyType):
        raise _wrong("type", f"type has to be one of {', '.join(KeyType)}.")
    return KeyDocument(
        type=KeyType(document["type"]),
        description=document.get("description", ""),
        enabled=document.get("enabled", True),
        expires_at=_moment(document["expires_at"]) if "expires_at" in document else NOT_GIVEN,
        user=document.get("user"),
        rules=tuple(_rule(row, rule) for row, rule in enumerate(document.get("rules", []), start=1)),
    )


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _wrong("expires_at", "expires_at is no date and time with an offset (RFC 3339).")
    return moment


def _rule(row: int, rule: object) -> Rule:
    if (
        not isinstance(rule, dict)
        or rule.keys() != {"method", "url"}
        or not all(isinstance(value, str) for value in rule.values())
    ):
        raise _wrong(f"rules[{row}]", f"Row {row}: a rule is an object of a method and a url.")
    try:
        return Rule(rule["method"], rule["url"])
    except InvalidInput as error:
        raise InvalidInput(f"rules[{row}].url", error.message, hint=error.hint, code=error.code) from None


def _wrong(field: str, message: str) -> InvalidInput:
    return InvalidInput(
        field,
        message,
        hint="Write keys as an export does; id and created_at are not read.",
        code="document_invalid",
    )
