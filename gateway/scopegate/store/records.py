"""Core values as JSON and back. A record that does not decode is a fault of the store, never a guess."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, TypeVar

import msgspec

from scopegate.core.errors import ScopegateError, UnreadableRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

_encoder = msgspec.json.Encoder(order="deterministic")


def encode(value: object) -> bytes:
    """`value` as JSON; equal values give equal bytes."""
    return _encoder.encode(value)


def decode(raw: bytes | str, kind: type[T]) -> T:
    """The value of type `kind` that `raw` holds, with all of its fields and no other.

    A field that we do not know may restrict what we would allow, and one that is missing may have.

    Raises:
        UnreadableRecord: it holds none, so nobody can tell what was meant.
    """
    with readable(kind.__name__):
        if is_dataclass(kind):
            stored = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
            if stored.keys() != {field.name for field in fields(kind)}:
                raise msgspec.ValidationError("other fields than this version writes")
        return msgspec.json.decode(raw, type=kind)


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
