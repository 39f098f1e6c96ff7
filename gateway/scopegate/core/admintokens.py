"""Tokens of administrators: what calls of the admin API present.

A token is spelled as a key is, with the prefix ``adm``, which no key can have. It is shown once, and
only its digest is stored.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from scopegate.core import keys
from scopegate.core.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from scopegate.core.keys import KeyText

(PREFIX,) = keys.RESERVED_PREFIXES
DEFAULT_LIFETIME = timedelta(days=90)
LONGEST_LIFETIME = timedelta(days=366)
SESSION_LIFETIME = timedelta(hours=8)
BOOTSTRAP_LIFETIME = timedelta(hours=24)
USE_NOTED_EVERY = timedelta(minutes=1)
_NOBODYS = "-" * keys.DIGEST_LENGTH  # no digest is spelled like that


class TokenKind(StrEnum):
    """What a token is for: a program or a command line, or one visit of a person."""

    TOKEN = "token"  # noqa: S105 -- the word
    SESSION = "session"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminToken:
    """What the store knows of a token. ``expires_at`` is aware; the token is good before it.

    ``administrator`` is the id of whom it stands for. A session that was opened with a token, whose id
    is ``opened_by``, is good no longer than that.
    """

    id: str
    kind: TokenKind
    administrator: str
    digest: str = field(repr=False)
    description: str
    created_at: datetime
    expires_at: datetime
    opened_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapToken:
    """What the store knows of the token that makes the first system administrator, once."""

    id: str
    digest: str = field(repr=False)
    expires_at: datetime


def mint(choose: Callable[[str], str]) -> KeyText:
    """The text of a new token; `choose` picks one character of an alphabet, in production at random."""
    token_id = "".join(choose(keys.BASE62) for _ in range(keys.ID_LENGTH))
    return keys.with_new_secret(token_id, choose, prefix=PREFIX)


def read(text: str, *, pepper: bytes | None) -> tuple[str, str]:
    """The id and the digest that `text` has; of what is no token, those of one that nobody has."""
    token = keys.parse(text, prefix=PREFIX)
    if token is None:
        nobodys, digest = keys.stand_in(text.encode("latin-1", "replace").decode("latin-1"), pepper=pepper)
        return nobodys.id, digest
    return token.id, keys.digest(token, pepper=pepper)


def proves(digest: str, record: AdminToken | BootstrapToken | None, now: datetime) -> bool:
    """Whether who has a text with this digest has the token of `record`, and it is still good."""
    stored = _NOBODYS if record is None else record.digest
    same = hmac.compare_digest(digest.encode("ascii"), stored.encode("ascii"))
    return same and record is not None and now < record.expires_at


def require_expiry(expires_at: datetime | None, now: datetime) -> datetime:
    """The moment when a new token expires: `expires_at`, or the default after `now` if it is None.

    Raises:
        InvalidInput: it has no time zone, is not in the future, or too far in it.
    """
    if expires_at is None:
        return now + DEFAULT_LIFETIME
    if expires_at.tzinfo is None:
        raise InvalidInput(
            "expires_at", "The expiry has no time zone.", hint="Write it as 2027-03-31T23:59+02:00."
        )
    keys.require_future_expiry(expires_at, now)
    if expires_at - now > LONGEST_LIFETIME:
        raise InvalidInput(
            "expires_at",
            f"A token lives at most {LONGEST_LIFETIME.days} days.",
            hint=f"Choose an expiry before {(now + LONGEST_LIFETIME).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}.",
            code="expiry_too_late",
        )
    return expires_at


def no_such_token(token_id: str) -> NotFound:
    """The error that says that there is no token with this id, or none that the caller may know of."""
    return NotFound(f"There is no token {token_id!r}.", hint="List the tokens; one that expired is gone.")
