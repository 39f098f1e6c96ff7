"""Who sends a request over the network: the administrator whose token it carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.core.errors import ScopegateError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scopegate.admin.visit import Office, Visit
    from scopegate.asgi import Scope


class Unauthenticated(ScopegateError):
    """No token, or none that is valid now."""

    code = "token_invalid"


def identified(office: Office) -> Callable[[Scope], Awaitable[Visit]]:
    """What tells the caller of a request from its token."""
    del office

    async def identify(_scope: Scope) -> Visit:
        raise Unauthenticated("No valid token was sent.", hint="Send Authorization: Bearer adm_...")

    return identify
