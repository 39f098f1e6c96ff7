"""A request of an administrator: who sends it, and what may be done with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Request

from scopegate.administration import Administration
from scopegate.asgi import Scope
from scopegate.commands import Commands
from scopegate.core.administrators import Caller, Permission, require
from scopegate.core.audit import LONGEST_REASON, Author
from scopegate.core.errors import InvalidInput
from scopegate.core.tenants import SYSTEM_TENANT
from scopegate.enforcer import utc_now
from scopegate.privileges.sourced import SourcedAccess
from scopegate.store import Store

_REASON = b"x-scopegate-reason"
VISIT = "scopegate.visit"  # in the ASGI scope


@dataclass(frozen=True, slots=True)
class Office:
    """What the administration API works with.

    ``store`` is the owner of all connections; ``key_prefix`` and ``pepper`` are as the gateway's.
    ``privileges`` says what users may do; None: the directory does. ``clock`` tells the present moment.
    """

    store: Store
    key_prefix: str
    pepper: bytes | None
    privileges: SourcedAccess | None = None
    clock: Callable[[], datetime] = utc_now

    async def aclose(self) -> None:
        """Close all connections."""
        if self.privileges is not None:
            await self.privileges.aclose()
        await self.store.aclose()


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of `caller`, whose changes are made from `origin` for a `reason`, if one is said."""

    office: Office
    caller: Caller
    origin: str
    reason: str | None = None

    async def commands(self, permission: Permission, tenant: str, *, dry_run: bool = False) -> Commands:
        """The operations on a tenant, if the caller may.

        Raises:
            Forbidden: the caller may not.
            NotFound: there is no such tenant, or it is none of the caller's.
        """
        require(self.caller, permission, tenant)
        store = self._store(dry=dry_run)
        return self._commands(store.of(await store.system.tenants.get(tenant)))

    def commands_on_system(self) -> Commands:
        """What can be read of the system as of a tenant: its audit log.

        Raises:
            Forbidden: the caller may not.
        """
        require(self.caller, Permission.READ_SYSTEM_AUDIT, None)
        return self._commands(self._store(dry=True).of(SYSTEM_TENANT))

    def administration(self, *, dry_run: bool = False) -> Administration:
        """The operations on the system; each of them asks what the caller may."""
        office = self.office
        return Administration(self._store(dry=dry_run), self.caller, pepper=office.pepper, clock=office.clock)

    def _commands(self, store: Store) -> Commands:
        office = self.office
        if office.privileges is not None:
            office.privileges.introduce(store.tenant.tag, store.tenant.id)
        return Commands(
            store,
            key_prefix=office.key_prefix,
            pepper=office.pepper,
            access=office.privileges,
            clock=office.clock,
        )

    def _store(self, *, dry: bool) -> Store:
        return self.office.store.by(Author(self.caller.actor, self.origin, self.reason), dry=dry)


def reason_of(scope: Scope) -> str | None:
    """Why something is changed, as the request says it.

    Raises:
        InvalidInput: it says it in more than a line of `LONGEST_REASON` characters.
    """
    said = [value for name, value in scope["headers"] if name == _REASON]
    if not said:
        return None
    reason = unquote(said[0].decode("latin-1"))
    if len(said) > 1 or len(reason) > LONGEST_REASON or not reason.isprintable():
        raise InvalidInput(
            "header:X-Scopegate-Reason",
            f"The reason is not one line of at most {LONGEST_REASON} characters.",
            hint="Percent-encode UTF-8 in it.",
            code="reason_invalid",
        )
    return reason or None


def _visit(request: Request) -> Visit:
    found: Visit = request.scope[VISIT]
    return found


ByVisit = Annotated[Visit, Depends(_visit)]
