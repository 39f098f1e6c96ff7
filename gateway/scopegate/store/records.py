"""Core values as JSON and back. A record that does not decode is a fault of the store, never a guess."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from scopegate.core.errors import ScopegateError, UnreadableRecord
from scopegate.core.keys import WRITTEN_IF_ANY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

_AT_A_TIME = 64 * 1024  # bytes; about 5 ms
_encoder = msgspec.json.Encoder()


def encode(value: object) -> bytes:
    """`value` as JSON; equal values give equal bytes."""
    return _encoder.encode(_written(value))


def etag(value: object) -> str:
    """The version of a stored value, 32 hexadecimal digits: equal for equal values alone."""
    return sha256(encode(value)).hexdigest()[:32]


def decode(raw: bytes | str, kind: type[T]) -> T:
    """The value of type `kind` that `raw` holds, with all of its fields and no other, at any depth.

    A field that we do not know may restrict what we would allow, and one that is missing may have.

    Raises:
        UnreadableRecord: it holds none, so nobody can tell what was meant.
    """
    with readable(kind.__name__):
        value = msgspec.json.decode(raw, type=kind)
        if is_dataclass(kind) and not _has_fields_of(msgspec.json.decode(raw), _written(value)):
            raise msgspec.ValidationError("other fields than this version writes")
        return value


async def decode_many(found: Iterable[bytes | None], kind: type[T]) -> list[T]:
    """The values that are there, as `decode`; the event loop gets its turn every few milliseconds."""
    values, size = [], 0
    for raw in found:
        if raw is None:
            continue
        size += len(raw)
        if size > _AT_A_TIME:
            await asyncio.sleep(0)
            size = len(raw)
        values.append(decode(raw, kind))
    return values


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn what is wrong with a stored `what` into UnreadableRecord."""
    try:
        yield
    except (msgspec.MsgspecError, UnicodeDecodeError, ScopegateError) as error:
        raise UnreadableRecord(
            f"A {what} in Redis cannot be read.",
            hint="It was written by another version or by hand; restore or delete it.",
        ) from error


def encode_names(names: Iterable[str]) -> bytes:
    """A set of names as a sorted JSON list."""
    return _encoder.encode(sorted(names))


def decode_names(raw: bytes | str) -> frozenset[str]:
    """The set of names that a JSON list holds."""
    return decode(raw, frozenset[str])


def _written(value: object) -> Any:  # noqa: ANN401 -- whatever JSON can say
    """What is stored of `value`: a field that is written only if there is anything, where there is."""
    written = msgspec.to_builtins(value, order="deterministic")
    if is_dataclass(value):
        for field in fields(value):
            if written[field.name] is None and field.metadata == WRITTEN_IF_ANY:
                del written[field.name]
    return written


def _has_fields_of(stored: object, written: object) -> bool:
    """Whether the objects in `stored` have the fields that those in `written` have, whatever is in them."""
    if isinstance(stored, dict) and isinstance(written, dict):
        return stored.keys() == written.keys() and all(
            _has_fields_of(stored[name], written[name]) for name in stored
        )
    if isinstance(stored, list) and isinstance(written, list | tuple):
        return all(map(_has_fields_of, stored, written))
    return True
