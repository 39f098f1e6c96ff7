"""New tokens of administrators."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scopegate.core import admintokens, keys
from scopegate.core.admintokens import SESSION_LIFETIME, AdminToken, TokenKind
from scopegate.core.keys import BASE62, ID_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token that was just created. ``secret`` is its text; nobody can read it again later."""

    token: AdminToken
    secret: str = field(repr=False)


class Issuer:
    """Makes tokens.

    Args:
        pepper: the HMAC key under which digests are made, if any.
        choose: picks a character at random.
    """

    def __init__(self, *, pepper: bytes | None, choose: Callable[[str], str]) -> None:
        self._pepper = pepper
        self._choose = choose

    def token(
        self, administrator: str, *, description: str, expires_at: datetime | None, now: datetime
    ) -> IssuedToken:
        """A token for an administrator, of the default lifetime if `expires_at` is None.

        Raises:
            InvalidInput: the description or the expiry breaks its rule.
        """
        keys.require_description(description)
        expiry = admintokens.require_expiry(expires_at, now)
        return self._issue(TokenKind.TOKEN, administrator, description, now, expiry)

    def session(
        self, administrator: str, *, description: str, now: datetime, opener: AdminToken | None
    ) -> IssuedToken:
        """A session of an administrator, which ends no later than the token that opened it, if one did."""
        expiry = now + SESSION_LIFETIME
        if opener is None:
            return self._issue(TokenKind.SESSION, administrator, description, now, expiry)
        return self._issue(
            TokenKind.SESSION, administrator, description, now, min(expiry, opener.expires_at), opener.id
        )

    def administrator_id(self) -> str:
        """An id that no administrator ever had."""
        return "".join(self._choose(BASE62) for _ in range(ID_LENGTH))

    def _issue(
        self,
        kind: TokenKind,
        administrator: str,
        description: str,
        now: datetime,
        expires_at: datetime,
        opened_by: str | None = None,
    ) -> IssuedToken:
        minted = admintokens.mint(self._choose)
        token = AdminToken(
            id=minted.id,
            kind=kind,
            administrator=administrator,
            digest=keys.digest(minted, pepper=self._pepper),
            description=description,
            created_at=now,
            expires_at=expires_at,
            opened_by=opened_by,
        )
        return IssuedToken(token, minted.text)
