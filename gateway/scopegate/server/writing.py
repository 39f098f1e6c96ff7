"""Answers as the bytes that go to the client. Pure: no I/O."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from scopegate.core.headers import end_to_end
from scopegate.problems import problem_fields

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scopegate.core.headers import Field
    from scopegate.problems import Problem
    from scopegate.proxy.response import Answer


def answer_head(answer: Answer, *, chunked: bool, connection: bytes) -> bytes:
    """The head of the upstream's answer; `connection` is what to say of ours, if anything."""
    lines = [status_line(answer.status)]
    lines += [b": ".join(field) for field in end_to_end(answer.headers)]
    if chunked:
        lines.append(b"transfer-encoding: chunked")
    if connection:
        lines.append(b"connection: " + connection)
    lines += (b"", b"")
    return b"\r\n".join(lines)


def interim_head(status: int, headers: list[Field]) -> bytes:
    """A whole interim answer (RFC 9110 section 15.2)."""
    return _whole(status, end_to_end(headers))


def switching_head(answer: Answer) -> bytes:
    """The answer that hands the connection over to a WebSocket (RFC 6455 section 4.2.2)."""
    # RFC 9110 section 8.6: no such answer has a length.
    fields = [field for field in end_to_end(answer.headers) if field[0] != b"content-length"]
    return _whole(answer.status, [*fields, (b"upgrade", b"websocket"), (b"connection", b"Upgrade")])


def problem_answer(problem: Problem, request_id: str, *, to_head: bool, keep_alive: bool) -> bytes:
    """A whole answer of the gateway itself."""
    fields, body = problem_fields(problem, request_id)
    if not keep_alive:
        fields.append((b"connection", b"close"))
    return _whole(problem.status, fields) + (b"" if to_head else body)


def chunk(piece: bytes, *, last: bool, trailers: Iterable[Field] = ()) -> bytes:
    """`piece` in the chunked coding (RFC 9112 section 7.1); the end of the body if it is the `last`."""
    data = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
    if not last:
        return data
    return b"%b0\r\n%b\r\n" % (data, b"".join(b"%b: %b\r\n" % field for field in trailers))


def _whole(status: int, fields: Iterable[Field]) -> bytes:
    lines = [status_line(status), *(b": ".join(field) for field in fields), b"", b""]
    return b"\r\n".join(lines)


@lru_cache(maxsize=512)
def status_line(status: int) -> bytes:
    """The first line of an answer; a status that nobody has named gets no reason phrase."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return b"HTTP/1.1 %d %b" % (status, phrase.encode("ascii"))
