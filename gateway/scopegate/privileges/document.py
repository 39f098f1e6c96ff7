"""The document in which an HTTP source says what a user may do, strictly read."""

from __future__ import annotations

import json

from scopegate.core.errors import InvalidInput
from scopegate.core.policies import require_name
from scopegate.privileges.source import Answer


class NoSense(Exception):
    """An answer that means nothing, or more than one thing. The text says why, and never quotes it."""


def read_answer(body: bytes) -> Answer:
    """What ``{"active": true, "privileges": ["recordings.read"]}`` says.

    Members of other names are ignored. Who is not active needs no list of privileges.

    Raises:
        NoSense: it is not JSON, says a thing twice, or has something of another type.
    """
    try:
        document = json.loads(body, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        raise NoSense("it is not JSON") from None
    if not isinstance(document, dict):
        raise NoSense("it is not an object")
    active = document.get("active")
    if not isinstance(active, bool):
        raise NoSense("'active' is not true or false")
    if not active and "privileges" not in document:
        return Answer(active=False)
    privileges = document.get("privileges")
    if not isinstance(privileges, list):
        raise NoSense("'privileges' is not a list")
    return Answer(active, frozenset(map(_name, privileges))) if active else Answer(active=False)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NoSense("it names a member twice")
    return members


def _name(privilege: object) -> str:
    if not isinstance(privilege, str):
        raise NoSense("a privilege is not a string")
    try:
        return require_name("privileges", privilege)
    except InvalidInput:
        raise NoSense("a privilege is not a name") from None
