"""What the fuzzers feed: each target takes any bytes, and fails where a promise of the code is broken.

``SEEDS`` are inputs to start from and ``WORDS`` pieces to build more of. An input that broke a target
once is kept in ``CASES``; `tests/fuzz/test_targets.py` runs seeds and cases with every test run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

from core.upstream_models import admits, readings_of
from scopegate.core import keys
from scopegate.core.credentials import bearer_token, the_key
from scopegate.core.errors import InvalidInput
from scopegate.core.limits import Limits
from scopegate.core.paths import canonical_path, readings
from scopegate.core.reasons import RequestRefused
from scopegate.core.request import METHODS
from scopegate.core.wildcard import UrlPattern
from scopegate.proxy.failures import UpstreamProtocolError
from scopegate.proxy.response import Answer
from scopegate.server.reading import RequestReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PATH = re.compile(r"/(?:(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})+/?)*")


def paths(data: bytes) -> None:
    """A canonical path is canonical, means what was sent, and is read by nobody outside its rule."""
    raw, _, rest = data.partition(b"\n")
    try:
        path = canonical_path(b"/" + raw)
    except RequestRefused:
        return
    assert canonical_path(path.encode("ascii")) == path
    assert _PATH.fullmatch(path)
    assert unquote_to_bytes(path) == unquote_to_bytes(b"/" + raw)
    below = path.find("/", 1) + 1
    if below:  # what people mostly write
        _judge(path[:below] + "*", path)
        _judge("/*" + path[below - 1 :], path)
    for begin, end in zip(rest[::2], rest[1::2], strict=False):
        _judge(path[: begin + 1] + "*" + path[begin + 1 + end :], path)


def rules(data: bytes) -> None:
    """A rule is kept in one spelling, and admits what a matcher says that knows no regular expression."""
    written, _, raw = data.partition(b"\n")
    try:
        pattern = UrlPattern.parse(written.decode("latin-1"))
    except InvalidInput:
        return
    assert UrlPattern.parse(pattern.text) == pattern
    try:
        path = canonical_path(raw)
    except RequestRefused:
        return
    _judge(pattern.text, path, pattern.host)


def _judge(rule: str, path: str, host: str | None = None) -> None:
    try:
        pattern = UrlPattern.parse(rule)
    except InvalidInput:
        return
    if host is not None and "*" in host:
        return
    admitted = pattern.matches(path=path, host=host)
    assert admitted is all(_slowly(pattern.path, reading) for reading in readings(path))
    if admitted and len(path) < 200:
        for (reading, spelling), model in readings_of(path).items():
            assert admits(pattern.path, reading, spelling), f"{model.name} reads {path} as {reading!r}"


def _slowly(pattern: str, path: str) -> bool:
    """Whether a pattern matches, token by token: the places in it that can be reached so far."""
    tokens = re.findall("%[0-9A-F]{2}|.", pattern, re.DOTALL)
    stars = [position for position, token in enumerate(tokens) if token == "*"]

    def with_stars(places: set[int]) -> set[int]:
        for star in stars:  # in order, so that a star behind a star is reached as well
            if star in places:
                places.add(star + 1)
        return places

    places = with_stars({0})
    for character in re.findall("%[0-9A-F]{2}|.", path, re.DOTALL):
        places = with_stars(
            {
                place if tokens[place] == "*" else place + 1
                for place in places
                if place < len(tokens) and tokens[place] in {"*", character}
            }
        )
    return len(tokens) in places


def key_texts(data: bytes) -> None:
    """What is taken for a key has the grammar of keys, and stops being one with any changed character."""
    text = data.decode("latin-1")
    _is_no_key_or_whole(text)
    token = bearer_token(data)
    assert token is None or token in data
    try:
        found = the_key([data])
    except RequestRefused:
        found = None
    assert found is None or found.encode("latin-1") == data.strip(b" \t")
    if len(data) > keys.ID_LENGTH + keys.SECRET_LENGTH:
        source = iter(data)
        key = keys.mint("abc", lambda alphabet: alphabet[next(source, 0) % len(alphabet)])
        assert keys.parse(key.text) == key
        _is_no_key_or_whole(key.text)
        at, other = data[-1] % len(key.text), chr(data[0])
        changed = key.text[:at] + other + key.text[at + 1 :]
        assert changed == key.text or keys.parse(changed) is None


def _is_no_key_or_whole(text: str) -> None:
    key = keys.parse(text)
    if key is None:
        return
    assert re.fullmatch(r"sg_[0-9A-Za-z]+_[0-9A-Za-z]+", text)
    assert key.text == text
    assert key.tenant_tag == key.id[: keys.TENANT_TAG_LENGTH]
    secret = text.rsplit("_", 1)[1]
    assert secret not in repr(key)
    assert len(keys.digest(key)) == 64
    assert keys.digest(key, pepper=b"pepper") != keys.digest(key)
    for other in (text + "\n", " " + text, text[:-1], text.swapcase(), text.replace("_", "-")):
        assert keys.parse(other) is None


def _pieces(data: bytes, cuts: bytes) -> Iterator[list[bytes]]:
    """`data` in several segmentations: whole, byte by byte, behind each head, and as `cuts` says."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    yield [piece for piece in re.split(rb"(?<=\r\n\r\n)", data) if piece]
    drawn = []
    begin = 0
    for size in cuts:
        drawn.append(data[begin : begin + size])
        begin += size
    yield [piece for piece in (*drawn, data[begin:]) if piece]


class _Said(NamedTuple):
    """All that an upstream's bytes have come to."""

    refused: bool
    status: int
    headers: list[tuple[bytes, bytes]]
    interims: tuple[tuple[int, list[tuple[bytes, bytes]]], ...]
    trailers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    flags: tuple[bool, ...]
    reusable: bool
    surplus: bytes


def answers(data: bytes) -> None:
    """An answer is the same in whatever pieces it comes."""
    control, _, wire = data.partition(b"\n")
    flags = control[0] if control else 0
    told = [
        _hear(pieces, to_head=bool(flags & 1), upgrade=bool(flags & 2))
        for pieces in _pieces(wire, control[1:])
    ]
    for other in told[1:]:
        assert other.refused == told[0].refused
        if not other.refused:
            alike = [said._replace(reusable=False) for said in (told[0], other)]
            if not _agreed(told[0]):  # such a 101 is refused by whoever asked
                alike = [said._replace(surplus=b"") for said in alike]
            assert alike[0] == alike[1]
            # Stray empty lines are dropped by the parser if they come with the end, and spoil the
            # connection if they come behind it. Neither is an answer to anybody.
            assert other.reusable == told[0].reusable or wire[-1:] in b"\r\n"


def _agreed(said: _Said) -> bool:
    """Whether the fields are those of a switch to WebSocket."""
    protocols = [value.lower() for name, value in said.headers if name == b"upgrade"]
    options = b",".join(value.lower() for name, value in said.headers if name == b"connection").split(b",")
    return protocols == [b"websocket"] and b"upgrade" in [option.strip(b" \t") for option in options]


def _hear(pieces: list[bytes], *, to_head: bool, upgrade: bool) -> _Said:
    answer = Answer(to_head=to_head, upgrade=upgrade)
    refused = False
    body = []
    surplus = b""
    for piece in pieces:
        if answer.switched:  # from here on nobody parses
            surplus += piece
            continue
        try:
            answer.feed(piece)
        except UpstreamProtocolError:
            refused = True
            break
        assert answer.queued >= 0
        while answer.queued:
            body.append(answer.take())
    if not refused:
        answer.feed_eof()
    assert not (answer.complete and not answer.head_complete)
    assert not (answer.reusable and not answer.head_complete)
    assert not (answer.bodiless and body)
    assert not (refused and answer.complete), "what is complete cannot be refused"
    told = (answer.head_complete, answer.complete, answer.unmeasured, answer.bodiless, answer.switched)
    return _Said(
        refused,
        answer.status,
        answer.headers,
        tuple(answer.interims),
        tuple(answer.trailers),
        b"".join(body),
        told,
        answer.reusable,
        answer.surplus + surplus,
    )


def requests(data: bytes) -> None:
    """Requests are the same in whatever pieces they come, and nothing follows what was refused."""
    cuts, _, wire = data.partition(b"\n")
    first, *others = (_until_unknown_method(_read(pieces)) for pieces in _pieces(wire, cuts))
    for other in others:
        assert other == first


class _Read(NamedTuple):
    """All that a client's bytes have come to."""

    refused: bool
    requests: list[tuple[object, ...]]
    surplus: bytes
    reading_head: bool


def _read(pieces: list[bytes]) -> _Read:
    reader = RequestReader(Limits())
    refused = False
    bodies: dict[int, bytes] = {}
    heads: dict[int, list[tuple[bytes, bytes]]] = {}  # as they were when the head was complete
    for piece in pieces:
        try:
            reader.feed(piece)
        except RequestRefused:
            refused = True
        for number, request in enumerate(reader.requests):
            bodies[number] = bodies.get(number, b"") + request.take()
            heads.setdefault(number, list(request.head.headers))
        if refused:
            break
    found: list[tuple[object, ...]] = []
    for number, request in enumerate(reader.requests):
        head = request.head
        assert head.headers == heads[number], "nothing is added to fields on which somebody may have decided"
        assert head.http_version in {"1.0", "1.1"}
        assert request.method
        assert not re.search(rb"[\x00-\x20\x7f]", request.target)
        assert len(bodies[number]) == request.size
        for name, value in head.headers:
            assert name == name.lower()
            assert name
            assert not re.search(rb"[\x00-\x20\x7f:]", name)
            assert not re.search(rb"[\x00\r\n]", value)
        assert request.complete or number == len(reader.requests) - 1, "nothing behind a request that grows"
        complete = request.complete and not refused
        said = (request.method, request.target, head.headers, head.http_version, head.upgrade)
        found.append((*said, request.keep_alive, bodies[number], complete))
    # What was being read when it was refused is nobody's.
    return _Read(refused, found, reader.surplus, reader.reading_head and not refused)


def _until_unknown_method(read: _Read) -> _Read:
    """Without what follows a method that is refused in any case, by the parser or by who decides."""
    for number, request in enumerate(read.requests):
        if request[0] not in METHODS:
            before = [(*earlier[:-1], False) for earlier in read.requests[:number]]
            return _Read(True, before, b"", False)  # noqa: FBT003 - the fields are named above
    return read


class Target(NamedTuple):
    """What to feed, and with what to begin."""

    feed: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]


_DELIMITERS = b"/ . .. ... ; ;v=1 * : @ %20 %23 %2A %2E %2F %3B %3F %5C %00"
_PATH_WORDS = (*_DELIMITERS.split(), *b"%25 %25u002e %C3%A9 %c0%ae 20 3F A9 u002e".split())
_HTTP_WORDS = (
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 ",
        b"HTTP/1.0 ",
        b"Content-Length: ",
        b"Transfer-Encoding: chunked\r\n",
    ),
    *(
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    ),
    *(
        b"Upgrade: h2c\r\n",
        b"0\r\n\r\n",
        b"1\r\nx\r\n",
        b"5;a=b\r\nhello\r\n",
        b"Trailer: x\r\n",
        b"Host: h\r\n",
    ),
    *(
        b"100 Continue",
        b"101 Switching Protocols",
        b"204 No Content",
        b"304 Not Modified",
        b"GET / ",
        b"POST /a ",
    ),
    *(
        b"HEAD / ",
        b"CONNECT h:1 ",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"Expect: 100-continue\r\n",
        b"\n",
        b"\r",
        b"\t",
    ),
)
_GET = b"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n"
_POST = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
_CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nt: v\r\n\r\n"
)
_WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
_KEY = keys.mint("abc", lambda alphabet: alphabet[7])

TARGETS = {
    "paths": Target(
        paths,
        (b"api/a%20b/x;v=1\n\x02\x03", b"a/%C3%A9%3Fq/%23\n\x01\x05\x04\x01", b"%25u002e/..%20/x.\n\x00\x09"),
        _PATH_WORDS,
    ),
    "rules": Target(
        rules,
        (
            b"/api/*/x\n/api/a/x",
            b"https://H:443/*%20*\n/a%20",
            b"/year*20/r\n/year/admin%20/r",
            b"*\n/a;b%3Fc",
        ),
        (*_PATH_WORDS, b"https://", b"http://h", b":443", b"[::1]", b"\n"),
    ),
    "keys": Target(
        key_texts,
        (_KEY.text.encode(), b"Bearer " + _KEY.text.encode(), b"x" * 80, b"sg_", b"bearer  a,b"),
        (b"sg_", b"Bearer ", b"_", _KEY.id.encode(), _KEY.text.encode()),
    ),
    "answers": Target(
        answers,
        (
            b"\0\5\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            b"\0\5\x30\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nt: v\r\n\r\n",
            b"\0\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            b"\1\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            b"\2\nHTTP/1.1 101 Switching Protocols\r\n" + _WEBSOCKET + b"\x81\x00",
            b"\0\nHTTP/1.0 200 OK\r\n\r\nuntil the end",
            b"\0\nHTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        ),
        _HTTP_WORDS,
    ),
    "requests": Target(
        requests,
        (
            b"\5\n" + _GET + _GET + _GET,
            b"\n" + _POST + _GET,
            b"\x20\n" + _GET + _POST + _CHUNKED + _GET,
            b"\n"
            + _GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            + b"frames",
            b"\n" + _POST.replace(b"\r\nC", b"\r\nConnection: upgrade\r\nUpgrade: h2c\r\nC") + _GET,
            b"\n" + _GET.replace(b"1.1", b"1.0"),
            b"\n" + _GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        ),
        _HTTP_WORDS,
    ),
}

# Inputs that broke a target once, by its name.
_UPGRADE = b"\nGET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
CASES: dict[str, tuple[bytes, ...]] = {
    "paths": (
        *(b"api/..%23x", b"api/..%3Fx", b"api/..%3B/x", b"api/..;x/y", b"api/;x/y", b"api/%3B/y", b"api//y"),
        *(b"api/..%2Fx", b"api/..%5Cx", b"api/%2e%2e/x", b"api/..%252Fx", b"api/%c0%ae./x", b"api/x%00/y"),
        b"api/%25u002e%25u002e/admin\n\x04\x20",
        b"api/..%20/admin\n\x04\x20",
        b"a/b;b%3F/c%3Fb\n\x02\x0b",
        b"year/admin%20/report\n\x04\x08",
    ),
    "rules": (
        b"/*A9\n/admin%C3%A9",
        b"/a.b*\n/axb",
        b"/*20\n/a%20",
        b"/files/report.*\n/files/report..",
        b"/a/*b\n/a/b;b%3F/c%3Fb",
    ),
    "answers": (b"\1\nHTTP/1.1 199 X\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n",),
    "requests": (
        _UPGRADE + b"Transfer-Encoding: x\r\n\r\n",
        _UPGRADE + b"Content-Length: 0\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\n" + _GET + b"GET /a  HTTP/1.1\r\nHost: h\r\n\r\n",
    ),
}
