"""Cases of the corpus as another proxy would ask about them.

What such a proxy sets takes the place of what its client wrote there, and the fields of one connection
stay on it. So a case is left out if

- it is given as raw bytes, for then it is about the wire, which the asking proxy reads; but one that has
  to be allowed is asked about by its first request;
- its request line cannot be taken apart, or no field can hold its target;
- the style has no words for it: a URL needs one host, which has no slash, and a path.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wire.corpora import Case

FORWARDED = "forwarded"
ORIGINAL_URI = "original-uri"
ORIGINAL_URL = "original-url"

_LINE = re.compile(r"([^ \r\n]+) ([^ \r\n]+) HTTP/1\.[01]")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", re.DOTALL)
_SET_BY_THE_PROXY = {
    FORWARDED: {"x-forwarded-method", "x-forwarded-uri", "x-forwarded-host"},
    ORIGINAL_URI: {"x-original-method", "x-original-uri", "x-forwarded-host"},
    ORIGINAL_URL: {"x-original-method", "x-original-url", "x-forwarded-host"},
}
_OF_THE_CONNECTION = {
    *("connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer"),
    *("transfer-encoding", "upgrade"),
}


class _Request(NamedTuple):
    method: str
    target: str
    hosts: list[str]
    fields: list[tuple[str, str]]


def question(case: Case, style: str, values: Mapping[str, str]) -> bytes | None:
    """What a proxy sends to ask about a case; None if it is left out."""
    if case.form is not None:
        return case.data(values)
    request = _first_request(case.data(values).decode("latin-1"))
    if request is None or (case.is_raw and case.expect != "allow"):
        return None
    told = _told(request, style)
    if told is None:
        return None
    lines = [
        f"{name}: {value}" for name, value in request.fields if name.lower() not in _SET_BY_THE_PROXY[style]
    ]
    return "\r\n".join(["GET /ask HTTP/1.1", *told, *lines, "Connection: close", "", ""]).encode("latin-1")


def _first_request(text: str) -> _Request | None:
    start, *lines = text.partition("\r\n\r\n")[0].split("\r\n")
    line = _LINE.fullmatch(start)
    fields = [_FIELD.fullmatch(line) for line in lines]
    if line is None or None in fields:
        return None
    named = [(field[1], field[2]) for field in fields if field is not None]
    hosts = [value for name, value in named if name.lower() == "host"]
    kept = [(name, value) for name, value in named if name.lower() not in _OF_THE_CONNECTION]
    method, target = line.groups()
    if target != target.strip("\t"):
        return None
    return _Request(method, target, hosts, kept)


def _told(request: _Request, style: str) -> list[str] | None:
    method, target, hosts, _ = request
    if style == FORWARDED:
        return [
            "Host: scopegate.test",
            f"X-Forwarded-Method: {method}",
            f"X-Forwarded-Uri: {target}",
            *(f"X-Forwarded-Host: {host}" for host in hosts),
        ]
    if style == ORIGINAL_URI:
        return [
            f"X-Original-Method: {method}",
            f"X-Original-URI: {target}",
            *(f"Host: {host}" for host in hosts),
        ]
    if len(hosts) != 1 or "/" in hosts[0] or not target.startswith("/"):
        return None
    url = f"http://{hosts[0]}{target}"
    return ["Host: scopegate.test", f"X-Original-Method: {method}", f"X-Original-URL: {url}"]
