"""A request of an administrator: who sends it, and what may be done with it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote

from fastapi import Depends, Request

from scopegate.commands import Commands
from scopegate.core.audit import LONGEST_REASON, Author
from scopegate.core.errors import InvalidInput, NotFound
from scopegate.core.tenants import DEFAULT_TENANT

if TYPE_CHECKING:
    from scopegate.asgi import Scope
    from scopegate.store import Store

_REASON = b"x-scopegate-reason"
VISIT = "scopegate.visit"  # in the ASGI scope


class Permission(StrEnum):
    """What an administrator may do."""

    READ_KEYS = "read_keys"
    CHANGE_KEYS = "change_keys"
    READ_AUDIT = "read_audit"
    READ_USERS = "read_users"
    CHANGE_FLAGS = "change_flags"


@dataclass(frozen=True, slots=True)
class Office:
    """What the administration API works with.

    ``store`` is the connections' owner; ``key_prefix`` and ``pepper`` are as the gateway's.
    """

    store: Store
    key_prefix: str
    pepper: bytes | None


@dataclass(frozen=True, slots=True)
class Visit:
    """Who sends a request."""

    office: Office
    author: Author

    async def commands(self, permission: Permission, tenant: str, *, dry_run: bool = False) -> Commands:
        """The operations on a tenant, if the caller may.

        Raises:
            Forbidden: the caller may not.
            NotFound: there is no such tenant, or none that the caller may know of.
        """
        if tenant != DEFAULT_TENANT.id:
            raise NotFound(f"There is no tenant {tenant!r}.")
        del permission, dry_run
        office = self.office
        return Commands(office.store.by(self.author), key_prefix=office.key_prefix, pepper=office.pepper)


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
