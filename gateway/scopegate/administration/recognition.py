"""Who somebody is of whom an OpenID Connect provider tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.core.audit import Author
from scopegate.core.errors import Conflict, NotFound
from scopegate.core.oidc import SignInRefused, recognise

if TYPE_CHECKING:
    from scopegate.core.administrators import Administrator
    from scopegate.core.oidc import Claims
    from scopegate.store import Store


async def recognised(store: Store, claims: Claims, *, trusts_email: bool, origin: str) -> Administrator:
    """The administrator of whom the provider tells; bound to the subject from the first time on.

    `origin` is where the sign-in comes from, for the audit log.

    Raises:
        SignInRefused: it is nobody whom we let in.
        StoreUnavailable: nobody can tell.
    """
    found = recognise(claims, await store.system.administrators.all(), trusts_email=trusts_email)

    def bound(present: Administrator) -> Administrator:
        # Somebody may have changed it since.
        return recognise(claims, [present], trusts_email=trusts_email)

    try:
        return await store.by(Author(found.email, origin)).system.administrators.change(found.id, bound)
    except (NotFound, Conflict) as error:
        raise SignInRefused(error.message) from error
