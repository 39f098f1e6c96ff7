"""The token with which the first system administrator is made."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from scopegate.core import admintokens, keys
from scopegate.core.admintokens import BOOTSTRAP_LIFETIME, BootstrapToken
from scopegate.enforcer import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from scopegate.store import Store


async def offer_bootstrap(
    store: Store,
    *,
    pepper: bytes | None = None,
    clock: Callable[[], datetime] = utc_now,
    choose: Callable[[str], str] = secrets.choice,
) -> str | None:
    """The text of a new bootstrap token, good once and for a day; any before it is good no longer.

    None if there is an active system administrator, who can make others.
    """
    minted = admintokens.mint(choose)
    token = BootstrapToken(
        id=minted.id,
        digest=keys.digest(minted, pepper=pepper),
        expires_at=clock() + BOOTSTRAP_LIFETIME,
    )
    return minted.text if await store.system.tokens.offer_bootstrap(token) else None
