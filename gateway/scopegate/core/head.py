"""The fields of a request that its decision depends on, sorted out in one pass.

What each of them has to be like is said where it is judged: `framing`, `request`, `credentials`,
`limits`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.core.credentials import AUTHORIZATION, bearer_token
from scopegate.core.framing import CONTENT_LENGTH, LOOK_ALIKES, TRANSFER_ENCODING
from scopegate.core.reasons import Reason, RequestRefused
from scopegate.core.request import HOST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scopegate.core.headers import Field


Head = tuple[int, list[bytes], list[bytes], list[bytes], list[bytes]]


class HeadSorter:
    """Sorts out the fields of requests whose key stands in the field `key_header`, or is a bearer token."""

    __slots__ = ("_decisive", "_key_header")

    def __init__(self, key_header: bytes) -> None:
        self._key_header = key_header
        self._decisive = LOOK_ALIKES | {key_header, AUTHORIZATION, HOST, CONTENT_LENGTH, TRANSFER_ENCODING}

    def sort(self, headers: Sequence[Field]) -> Head:
        """What is decisive in `headers`: the values of each field, in their order.

        Returns:
            The size of all names and values together, then the values of Host, those that could be
            the key, and those of Content-Length and Transfer-Encoding.

        Raises:
            RequestRefused: a field that some upstream takes for one that frames the body.
        """
        size = 0
        hosts: list[bytes] = []
        keys: list[bytes] = []
        lengths: list[bytes] = []
        codings: list[bytes] = []
        decisive = self._decisive
        for name, value in headers:
            size += len(name) + len(value)
            if name not in decisive:
                continue
            if name == self._key_header:
                keys.append(value)
            elif name == HOST:
                hosts.append(value)
            elif name == AUTHORIZATION:
                token = bearer_token(value)
                if token is not None:
                    keys.append(token)
            elif name == CONTENT_LENGTH:
                lengths.append(value)
            elif name == TRANSFER_ENCODING:
                codings.append(value)
            else:
                raise RequestRefused(Reason.FRAMING_MALFORMED)
        return size, hosts, keys, lengths, codings
