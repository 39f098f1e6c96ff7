"""Core values as JSON and back. A record that does not decode is a fault of the store, never a guess."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import msgspec

from scopegate.core.errors import ScopegateError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

_encoder = msgspec.json.Encoder(order="deterministic")


def encode(value: object) -> bytes:
    """`value` as JSON; equal values give equal bytes."""
    return _encoder.encode(value)


def decode(raw: bytes | str, kind: type[T]) -> T:
    """The value of type `kind` that `raw` holds.

    Raises:
        StoreUnavailable: it holds none, so nobody can tell what was meant.
    """
    with readable(kind.__name__):
        return msgspec.json.decode(raw, type=kind)


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn what is wrong with a stored `what` into StoreUnavailable."""
    try:
        yield
    except (msgspec.MsgspecError, UnicodeDecodeError, ScopegateError) as error:
        raise StoreUnavailable(
            f"A {what} in Redis cannot be read.",
            hint="It was written by another version or by hand; restore or delete it.",
        ) from error


def encode_names(names: Iterable[str]) -> bytes:
    """A set of names as a sorted JSON list."""
    return _encoder.encode(sorted(names))


def decode_names(raw: bytes | str) -> frozenset[str]:
    """The set of names that a JSON list holds."""
    return decode(raw, frozenset[str])
