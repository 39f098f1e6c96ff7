"""How long the keys of a tenant live, where that is settled for the tenant."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal

from scopegate.core.errors import InvalidInput
from scopegate.core.keys import KeyType

if TYPE_CHECKING:
    from datetime import datetime

    from scopegate.core.tenants import TenantSettings


class _NotGiven(Enum):
    NOT_GIVEN = "not given"


NotGiven = Literal[_NotGiven.NOT_GIVEN]
NOT_GIVEN: Final = _NotGiven.NOT_GIVEN
"""Nothing was said of the expiry; None says that the key is never to expire."""


def expiry_of(
    given: datetime | NotGiven | None, key_type: KeyType, now: datetime, settings: TenantSettings
) -> datetime | None:
    """The expiry of a key that is created `now`: what was given, or what is settled for the tenant."""
    if given is not NOT_GIVEN:
        return given
    if key_type is KeyType.DESKTOP or settings.default_lifetime is None:
        return None
    return now + timedelta(days=settings.default_lifetime)


def require_lifetime(
    key_type: KeyType, expires_at: datetime | None, now: datetime, settings: TenantSettings
) -> None:
    """Refuse an expiry later than the tenant's keys may have one, never included; desktop keys have none.

    Raises:
        InvalidInput: with code ``expiry_too_late``.
    """
    if settings.max_lifetime is None or key_type is KeyType.DESKTOP:
        return
    last = now + timedelta(days=settings.max_lifetime)
    if expires_at is None or expires_at > last:
        raise InvalidInput(
            "expires_at",
            f"Keys of this tenant live for {settings.max_lifetime} days at the most.",
            hint=f"Choose an expiry until {last:%Y-%m-%dT%H:%M:%SZ}.",
            code="expiry_too_late",
        )
