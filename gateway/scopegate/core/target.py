"""The request target (RFC 9112 section 3.2): its path and its query as they stood on the wire."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scopegate.core.reasons import Reason, RequestRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scopegate.core.headers import Field

_ABSOLUTE = re.compile(rb"https?://([^/?#]*)([^?]*)(?:\?(.*))?", re.IGNORECASE | re.DOTALL)


def split_target(target: bytes, headers: Iterable[Field]) -> tuple[bytes, bytes]:
    """The path and the query of `target`, neither decoded nor checked.

    Of the absolute form (section 3.2.2) the host has to be the one that ``Host`` names: section 3.2.2
    would have the target win, but an upstream behind us may well think otherwise.

    Raises:
        RequestRefused: the host of an absolute form is another one.
    """
    if target.startswith(b"/"):
        path, _, query = target.partition(b"?")
        return path, query
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        return target, b""  # such as *, which is no path that a rule could match
    authority, path, query = absolute.groups(b"")
    hosts = [value.lower() for name, value in headers if name == b"host"]
    if hosts != [authority.lower()]:
        raise RequestRefused(Reason.HOST_MALFORMED)
    return path or b"/", query
