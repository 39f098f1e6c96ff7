"""What an application behind the gateway gets to see of an allowed request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.core import headers as fields
from scopegate.core.credentials import credential_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scopegate.core.headers import Field
    from scopegate.core.keys import KeyRecord


def admitted_fields(
    received: Sequence[Field], *, key_header: bytes, record: KeyRecord, request_id: str
) -> list[Field]:
    """The fields of the client without its key and its claims, and ours about who calls.

    Args:
        received: the client's fields, names in lower case.
        key_header: the lower-case name of the field that holds the key.
        record: the key that opened the request.
        request_id: the request's id.
    """
    admitted = fields.admitted(received, credentials=credential_fields(received, key_header=key_header))
    admitted.append((fields.REQUEST_ID, request_id.encode("ascii")))
    admitted.append((fields.KEY_ID, record.id.encode("ascii")))
    admitted.append((fields.TENANT, record.tenant.encode("ascii")))
    if record.user is not None:
        admitted.append((fields.USER, record.user.encode("ascii")))
    return admitted
