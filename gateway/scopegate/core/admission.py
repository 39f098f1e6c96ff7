"""What an application behind the gateway gets to know of the key that opened a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.core.headers import KEY_ID, TENANT, USER

if TYPE_CHECKING:
    from scopegate.core.headers import Field
    from scopegate.core.keys import KeyRecord


def identity_fields(record: KeyRecord) -> list[Field]:
    """The fields that say who calls, by the record of the key that opened the request."""
    identity = [(KEY_ID, record.id.encode("ascii")), (TENANT, record.tenant.encode("ascii"))]
    if record.user is not None:
        identity.append((USER, record.user.encode("ascii")))
    return identity
