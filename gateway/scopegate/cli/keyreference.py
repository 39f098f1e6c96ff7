"""Which key a person means: by its id, by how the id begins, or by its description."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scopegate.core.errors import InvalidInput, NotFound
from scopegate.core.keys import ID_LENGTH

if TYPE_CHECKING:
    from scopegate.client import Client, schemas

_NOT_FOUND = 404
_LONGEST_SEARCH = 200  # characters, in a query
# Longer than an id and in one piece, as the text of a key is: it goes nowhere.
_MAYBE_SECRET = re.compile(r"\w*[0-9A-Za-z]{20}\w*", re.ASCII)


def find_key(client: Client, reference: str) -> schemas.KeyDetails:
    """The key that is meant.

    Raises:
        NotFound, ApiError: there is none.
        InvalidInput: there are several, or it may be a secret; then it is neither sent nor repeated.
    """
    from scopegate.client import ApiError  # noqa: PLC0415 -- whoever has a client has it

    if not reference or _MAYBE_SECRET.fullmatch(reference):
        raise InvalidInput(
            "id",
            "That is not the id of a key.",
            hint="An id has 12 letters and digits: the part of a key between its two '_'.",
        )
    missing: ApiError | None = None
    if reference.isalnum() and reference.isascii() and len(reference) <= ID_LENGTH:
        try:
            return client.key(reference)
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
            missing = error
    found = [key for key in client.keys(q=reference[:_LONGEST_SEARCH]) if key.description == reference]
    if len(found) > 1:
        raise InvalidInput(
            "id",
            f"{len(found)} keys have this description: {', '.join(key.id for key in found)}.",
            hint="Give the id.",
        )
    if found:
        return found[0]
    raise missing or NotFound(
        f"No key has the id or the description {reference!r}.", hint="List the keys with: scopegate key list"
    )
