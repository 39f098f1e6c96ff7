"""How large a request may be."""

from __future__ import annotations

from dataclasses import dataclass, fields

from scopegate.core.errors import InvalidInput
from scopegate.core.reasons import Reason

_FIELD_OVERHEAD = len(b": \r\n")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request.

    ``target`` bytes of the request target, ``head`` bytes of all fields together as HTTP/1.1 writes
    them, ``fields`` of them at the most, ``body`` bytes of the body, and 0 sets it no bound.

    Raises:
        InvalidInput: a bound that nothing fits into.
    """

    target: int = 8_192
    head: int = 32_768
    fields: int = 128
    body: int = 1 << 30

    def __post_init__(self) -> None:
        if self.body < 0:
            raise InvalidInput("body", "The limit of a body is 0, which means none, or more bytes.")
        for field in fields(self):
            if field.name != "body" and getattr(self, field.name) <= 0:
                raise InvalidInput(field.name, f"The limit {field.name!r} must be more than 0.")

    def exceeded(self, *, fields: int, size: int, length: int) -> Reason | None:
        """The reason to refuse a request whose fields are too many or too large, or announce too much.

        Args:
            fields: how many there are.
            size: bytes of their names and values.
            length: the stated length of the body, or -1.
        """
        if fields > self.fields or size + fields * _FIELD_OVERHEAD > self.head:
            return Reason.HEAD_TOO_LARGE
        return Reason.BODY_TOO_LARGE if self.is_too_long(length) else None

    def is_too_long(self, length: int) -> bool:
        """Whether a body may not have `length` bytes."""
        return 0 < self.body < length
