"""How administrators come in: with a token, with a session in a cookie, or from a provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scopegate.admin.oidcsignin import OidcSignIn
    from scopegate.admin.sessioncookie import SessionCookie
    from scopegate.administration import Authentication


@dataclass(frozen=True, slots=True)
class Entrance:
    """What checks who comes. ``oidc`` is None where there is no provider."""

    authentication: Authentication
    cookie: SessionCookie
    oidc: OidcSignIn | None = None

    async def aclose(self) -> None:
        """Close what is open to others than the store."""
        if self.oidc is not None:
            await self.oidc.aclose()
