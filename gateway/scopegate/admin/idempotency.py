"""``Idempotency-Key``: a request that is sent again carries out nothing twice.

As draft-ietf-httpapi-idempotency-key-header-07 has it, with one difference: a repetition is answered with
the key, and without its secret, since a secret that could be answered twice would have to be kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated

import pydantic
from fastapi import Depends, Header

from scopegate.core.administrators import Caller
from scopegate.core.errors import InvalidInput
from scopegate.core.idempotency import Idempotency

# A string of RFC 9651 section 3.3.3, or its content alone, as many clients send it.
_KEY = re.compile(r'"([\x20\x21\x23-\x5b\x5d-\x7e]{1,255})"|([\x21\x23-\x5b\x5d-\x7e]{1,255})')


@dataclass(frozen=True, slots=True)
class Repeatable:
    """A request that may come again. ``key`` is what its client chose, or None."""

    key: str | None

    def of(self, caller: Caller, what: str, body: pydantic.BaseModel) -> Idempotency | None:
        """What tells a repetition of `what` that the same `caller` asks for, with the same body."""
        if self.key is None:
            return None
        said = body.model_dump_json(exclude_unset=True)
        return Idempotency(
            scope=f"{caller.administrator or caller.actor} {what}",
            key=self.key,
            fingerprint=sha256(said.encode()).hexdigest(),
        )


def _repeatable(idempotency_key: Annotated[str | None, Header()] = None) -> Repeatable:
    if idempotency_key is None:
        return Repeatable(None)
    match = _KEY.fullmatch(idempotency_key)
    if match is None:
        raise InvalidInput(
            "header:Idempotency-Key",
            "The Idempotency-Key is no string of 1 to 255 visible characters.",
            hint="Choose a new UUID for each creation.",
            code="idempotency_key_invalid",
        )
    return Repeatable(match[1] or match[2])


Once = Annotated[Repeatable, Depends(_repeatable)]
