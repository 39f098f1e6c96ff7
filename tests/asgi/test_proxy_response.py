"""Reading the upstream's answer: each case whole, byte by byte, and with something behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from scopegate.proxy.failures import UpstreamProtocolError
from scopegate.proxy.response import MAX_HEAD, Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass(frozen=True)
class Case:
    """An answer, and what it says. ``ends`` is false where only the end of the connection ends it."""

    name: str
    raw: bytes
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    to_head: bool = False
    reusable: bool = True
    ends: bool = True


LENGTH_0 = ((b"content-length", b"0"),)
LENGTH_2 = ((b"content-length", b"2"),)
CHUNKED = ((b"transfer-encoding", b"chunked"),)

CASES = [
    Case("length", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", headers=LENGTH_2, body=b"hi"),
    Case("empty", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", headers=LENGTH_0),
    Case("no reason", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", headers=LENGTH_0),
    Case("odd status", b"HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n", status=599, headers=LENGTH_0),
    Case(
        "chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1;x=y\r\ni\r\n0\r\n\r\n",
        headers=CHUNKED,
        body=b"hi",
    ),
    Case(
        "empty chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        headers=CHUNKED,
    ),
    Case(
        "trailers are dropped",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: 1\r\nSet-Cookie: a\r\n\r\n",
        headers=CHUNKED,
        body=b"hi",
    ),
    Case(
        "order, duplicates and bytes of fields",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: b=2\r\nX: caf\xe9\xff \r\nSet-Cookie: a=1\r\nY:\r\n"
        b"Content-Length: 0\r\n\r\n",
        headers=(
            (b"set-cookie", b"b=2"),
            (b"x", b"caf\xe9\xff"),
            (b"set-cookie", b"a=1"),
            (b"y", b""),
            *LENGTH_0,
        ),
    ),
    Case(
        "interim answers are dropped",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        headers=LENGTH_2,
        body=b"hi",
    ),
    Case("to HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", headers=LENGTH_2, to_head=True),
    Case(
        "to HEAD, chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        headers=CHUNKED,
        to_head=True,
    ),
    Case("to HEAD, empty", b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", 404, LENGTH_0, to_head=True),
    Case("to HEAD, no length", b"HTTP/1.1 200 OK\r\n\r\n", to_head=True, reusable=False),
    Case(
        "to HEAD, after an interim answer",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        headers=LENGTH_2,
        to_head=True,
    ),
    Case("204", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
    Case("204 with a length", b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", 204),
    Case(
        "304 with a length",
        b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 2\r\n\r\n",
        304,
        ((b"etag", b"x"),),
    ),
    Case(
        "connection: close",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        headers=((b"connection", b"close"), *LENGTH_0),
        reusable=False,
    ),
    Case("1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", headers=LENGTH_0, reusable=False),
    Case(
        "1.0 with keep-alive",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        headers=((b"connection", b"keep-alive"), *LENGTH_0),
    ),
    Case("until close", b"HTTP/1.1 200 OK\r\n\r\nhi", body=b"hi", reusable=False, ends=False),
    Case("until close, empty", b"HTTP/1.1 200 OK\r\n\r\n", reusable=False, ends=False),
    Case("until close, 1.0", b"HTTP/1.0 200 OK\r\n\r\nhi", body=b"hi", reusable=False, ends=False),
    Case("line ends in front", b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", headers=LENGTH_0),
]

BROKEN = {
    "garbage": b"garbage\r\n\r\n",
    "not HTTP": b"SSH-2.0-x\r\n",
    "another version": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "an older version": b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "a protocol that looks alike": b"RTSP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "bad chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "space before a chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n 2\r\nhi\r\n",
    "chunk longer than its size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nhi\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "length and coding": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    "length in a trailer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 2\r\n",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi",
    "two codings": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
    "folded field": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nhi",
    "space before the colon": b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nhi",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nhi",
    "101 not asked for": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "interim answer with a length": b"HTTP/1.1 199 X\r\nContent-Length: 5\r\n\r\nhello",
    "interim answer with a coding": b"HTTP/1.1 103 X\r\nTransfer-Encoding: chunked\r\n\r\n",
    "bare 101": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "status below 100": b"HTTP/1.1 099 x\r\nContent-Length: 0\r\n\r\n",
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * MAX_HEAD + b"\r\n",
    "endless interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_HEAD // 25 + 1),
}


def read(pieces: Iterable[bytes], *, to_head: bool = False) -> tuple[Answer, bytes]:
    answer = Answer(to_head=to_head)
    body = b""
    for piece in pieces:
        answer.feed(piece)
        body += answer.take()
    return answer, body


def byte_by_byte(raw: bytes) -> list[bytes]:
    return [raw[i : i + 1] for i in range(len(raw))]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("split", [lambda raw: [raw], byte_by_byte], ids=["whole", "byte by byte"])
def test_an_answer_is_read_as_it_is(case: Case, split: Callable[[bytes], list[bytes]]) -> None:
    answer, body = read(split(case.raw), to_head=case.to_head)
    assert (answer.status, tuple(answer.headers), body) == (case.status, case.headers, case.body)
    assert answer.head_complete
    assert answer.complete is case.ends
    assert answer.reusable is case.reusable


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_answer_is_complete_only_at_its_end(case: Case) -> None:
    for end in range(len(case.raw)):
        answer, _ = read([case.raw[:end]], to_head=case.to_head)
        assert not answer.complete, case.raw[:end]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_only_an_answer_without_a_stated_end_ends_with_the_connection(case: Case) -> None:
    for end in range(len(case.raw)):
        answer, _ = read([case.raw[:end]], to_head=case.to_head)
        answer.feed_eof()
        assert answer.complete is (answer.head_complete and not case.ends), case.raw[:end]
    answer, _ = read([case.raw], to_head=case.to_head)
    answer.feed_eof()
    assert answer.complete


@pytest.mark.parametrize("case", [case for case in CASES if case.ends], ids=lambda case: case.name)
@pytest.mark.parametrize(
    "surplus",
    [
        b"x",
        b"5",  # to a parser that waits for a chunk, the beginning of one
        b"H",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        b"0\r\n\r\n",
        b"2\r\nhi\r\n0\r\n\r\n",
        b"\0",
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_a_connection_with_surplus_bytes_is_not_reused(case: Case, surplus: bytes, together: bool) -> None:  # noqa: FBT001
    pieces = [case.raw + surplus] if together else [case.raw, surplus]
    answer, body = read(pieces, to_head=case.to_head)
    assert (answer.status, tuple(answer.headers), body) == (case.status, case.headers, case.body)
    assert answer.complete
    assert not answer.reusable


@pytest.mark.parametrize(("name", "raw"), BROKEN.items(), ids=BROKEN)
def test_a_broken_answer_is_refused_and_its_head_with_it_if_that_is_at_fault(name: str, raw: bytes) -> None:
    answer = Answer(to_head=False)
    with pytest.raises(UpstreamProtocolError):
        answer.feed(raw)
    assert not answer.complete
    assert answer.head_complete is ("chunk" in name or "trailer" in name)


@pytest.mark.parametrize(
    "raw", [raw for name, raw in BROKEN.items() if not name.startswith("endless")], ids=lambda raw: raw[9:60]
)
def test_a_broken_answer_is_refused_byte_by_byte(raw: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        read(byte_by_byte(raw))


def test_small_pieces_are_joined_and_large_ones_are_not() -> None:
    answer = Answer(to_head=False)
    answer.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n")
    assert (answer.queued, answer.take(), answer.queued, answer.take()) == (2, b"ab", 0, b"")
    large = b"x" * 40_000
    answer.feed(b"9C40\r\n" + large + b"\r\n9C40\r\n" + large + b"\r\n")
    assert answer.queued == 80_000
    assert (answer.take(), answer.take(), answer.queued) == (large, large, 0)
