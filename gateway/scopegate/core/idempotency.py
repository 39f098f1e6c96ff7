"""Requests that may be sent twice and are to be carried out once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from scopegate.core.errors import InvalidInput

IDEMPOTENCY_LIFETIME = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Idempotency:
    """What tells that a request is another one's repetition.

    ``scope`` says whose key it is and what for (caller and route), ``key`` is what the client chose
    (the HTTP API's ``Idempotency-Key``), ``fingerprint`` stands for all that the request says.
    """

    scope: str
    key: str
    fingerprint: str

    @property
    def digest(self) -> str:
        """What scope and key are kept under: 64 hexadecimal digits."""
        return sha256(f"{len(self.scope)}:{self.scope}{self.key}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Issuance:
    """What is kept of the first request: which key got a secret, and what was asked. No secret is."""

    key_id: str
    fingerprint: str

    def require_repeated(self, idempotency: Idempotency) -> None:
        """Make sure that a request with the same key asks for the same.

        Raises:
            InvalidInput: it asks for something else.
        """
        if self.fingerprint != idempotency.fingerprint:
            raise InvalidInput(
                "idempotency_key",
                "This idempotency key was used for another request.",
                hint="Choose a new key for each request, and keep it only to send the same one again.",
                code="idempotency_key_reused",
            )
