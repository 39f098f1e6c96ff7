"""Requests that two readers may read differently, as exact bytes; each has a key that opens everything."""

from __future__ import annotations

from wire.servers import KEY, WRONG_KEY

_HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: a\r\nX-API-Key: " + KEY + b"\r\n\r\n"


def post(*lines: bytes, body: bytes = b"hello", version: bytes = b"1.1") -> bytes:
    """A POST with `lines` as its last fields."""
    head = [b"POST /attack HTTP/" + version, b"Host: a", b"X-API-Key: " + KEY, *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def get(line: bytes = b"GET /attack HTTP/1.1", *lines: bytes, host: bytes = b"Host: a") -> bytes:
    """A request without a body, with this request line."""
    head = [line, *([host] if host else []), b"X-API-Key: " + KEY, *lines]
    return b"\r\n".join(head) + b"\r\n\r\n"


def chunked(body: bytes) -> bytes:
    """A POST in the chunked coding, with `body` as its exact bytes."""
    return post(b"Transfer-Encoding: chunked", body=body)


_EMPTY = b"0\r\n\r\n"
_FIVE = b"5\r\nhello\r\n" + _EMPTY

# The length is told twice, or in another spelling than digits.
LENGTHS = {
    "length and coding": post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=_EMPTY),
    "coding and length": post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=_EMPTY),
    "length, coding, and a request behind": post(
        b"Content-Length: %d" % len(_EMPTY + _HIDDEN), b"Transfer-Encoding: chunked", body=_EMPTY + _HIDDEN
    ),
    "coding, length, and a request in a chunk": post(
        b"Transfer-Encoding: chunked",
        b"Content-Length: 4",
        body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(_HIDDEN), _HIDDEN),
    ),
    "equal lengths": post(b"Content-Length: 5", b"Content-Length: 5"),
    "different lengths": post(b"Content-Length: 5", b"Content-Length: 0"),
    "different lengths, the smaller first": post(
        b"Content-Length: 0", b"Content-Length: %d" % len(_HIDDEN), body=_HIDDEN
    ),
    "list of equal lengths": post(b"Content-Length: 5, 5"),
    "list of different lengths": post(b"Content-Length: 5, 0"),
    "length +5": post(b"Content-Length: +5"),
    "length -5": post(b"Content-Length: -5"),
    "length -0": post(b"Content-Length: -0", body=b""),
    "length 0x5": post(b"Content-Length: 0x5"),
    "length a": post(b"Content-Length: a", body=b"0123456789"),
    "length 5a": post(b"Content-Length: 5a"),
    "length 5 0": post(b"Content-Length: 5 0"),
    "length 5.0": post(b"Content-Length: 5.0"),
    "length 5e0": post(b"Content-Length: 5e0"),
    "length 1_0": post(b"Content-Length: 1_0", body=b"0123456789"),
    "length in quotes": post(b'Content-Length: "5"'),
    "length with a vertical tab": post(b"Content-Length: 5\x0b"),
    "length with a form feed before": post(b"Content-Length: \x0c5"),
    "length in wide digits": post(b"Content-Length: \xd9\xa5"),
    "empty length": post(b"Content-Length:", body=b""),
    "length beyond 64 bits": post(b"Content-Length: 18446744073709551621"),
    "length beyond all bounds": post(b"Content-Length: 1" + b"0" * 60),
    "length behind 30 zeros": post(b"Content-Length: " + b"0" * 30 + b"5"),
    "Content_Length": post(b"Content_Length: 5", b"Content-Length: 0", body=b""),
    "space before the colon of the length": post(b"Content-Length : 5"),
    "tab before the colon of the length": post(b"Content-Length\t: 5"),
    "NUL before the colon of the length": post(b"Content-Length\0: 5"),
}

# A coding that one reader takes for chunked, and another does not.
CODINGS = {
    "xchunked": post(b"Transfer-Encoding: xchunked", body=_FIVE),
    "identity": post(b"Transfer-Encoding: identity", body=_FIVE),
    "chunked, identity": post(b"Transfer-Encoding: chunked, identity", body=_FIVE),
    "identity, chunked": post(b"Transfer-Encoding: identity, chunked", body=_FIVE),
    "gzip, chunked": post(b"Transfer-Encoding: gzip, chunked", body=_FIVE),
    "chunked, chunked": post(b"Transfer-Encoding: chunked, chunked", body=_FIVE),
    "chunked,": post(b"Transfer-Encoding: chunked,", body=_FIVE),
    ",chunked": post(b"Transfer-Encoding: ,chunked", body=_FIVE),
    "chunked;q=1": post(b"Transfer-Encoding: chunked;q=1", body=_FIVE),
    "chunked junk": post(b"Transfer-Encoding: chunked junk", body=_FIVE),
    "chunked in quotes": post(b'Transfer-Encoding: "chunked"', body=_FIVE),
    "vertical tab before chunked": post(b"Transfer-Encoding: \x0bchunked", body=_FIVE),
    "vertical tab behind chunked": post(b"Transfer-Encoding: chunked\x0b", body=_FIVE),
    "form feed before chunked": post(b"Transfer-Encoding: \x0cchunked", body=_FIVE),
    "NUL behind chunked": post(b"Transfer-Encoding: chunked\0", body=_FIVE),
    "NEL behind chunked": post(b"Transfer-Encoding: chunked\x85", body=_FIVE),
    "two codings": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=_FIVE),
    "chunked twice": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=_FIVE),
    "an empty coding": post(b"Transfer-Encoding:", body=_FIVE),
    "an empty coding and a length": post(b"Transfer-Encoding:", b"Content-Length: 5"),
    "Transfer_Encoding": post(b"Transfer_Encoding: chunked", body=b""),
    "Transfer_Encoding and a length": post(b"Transfer_Encoding: chunked", b"Content-Length: 5"),
    "space before the colon": post(b"Transfer-Encoding : chunked", body=_FIVE),
    "coding in a folded line": post(b"Transfer-Encoding:\r\n chunked", body=_FIVE),
    "coding behind a space": post(b" Transfer-Encoding: chunked", body=_FIVE),
    "coding behind CR": post(b"X: y\rTransfer-Encoding: chunked", body=_FIVE),
    "coding behind LF": post(b"X: y\nTransfer-Encoding: chunked", body=_FIVE),
    "chunked in HTTP/1.0": post(b"Transfer-Encoding: chunked", body=_FIVE, version=b"1.0"),
    "chunked in HTTP/1.0 with keep-alive": post(
        b"Connection: keep-alive", b"Transfer-Encoding: chunked", body=_FIVE, version=b"1.0"
    ),
}

# Lines that do not end in CRLF, or are no fields.
LINES = {
    "LF ends the request line": get().replace(b"1.1\r\n", b"1.1\n"),
    "LF ends a field": get().replace(b"Host: a\r\n", b"Host: a\n"),
    "LF ends every line": get().replace(b"\r\n", b"\n"),
    "LF ends the head": get()[:-2] + b"\n",
    "CR ends a field": get().replace(b"Host: a\r\n", b"Host: a\r"),
    "CR in a value": get(b"GET /attack HTTP/1.1", b"X: a\rb"),
    "CR CR LF": get().replace(b"Host: a\r\n", b"Host: a\r\r\n"),
    "CR before the head ends": get()[:-2] + b"\r\r\n",
    "a folded line": get(b"GET /attack HTTP/1.1", b"X: a", b" b"),
    "a folded line with a tab": get(b"GET /attack HTTP/1.1", b"X: a", b"\tb"),
    "a folded first line": get(b"GET /attack HTTP/1.1\r\n X: a"),
    "NUL in a name": get(b"GET /attack HTTP/1.1", b"X\0Y: a"),
    "NUL in a value": get(b"GET /attack HTTP/1.1", b"X: a\0b"),
    "DEL in a value": get(b"GET /attack HTTP/1.1", b"X: a\x7fb"),
    "a bell in a value": get(b"GET /attack HTTP/1.1", b"X: a\x07b"),
    "no colon": get(b"GET /attack HTTP/1.1", b"X"),
    "no name": get(b"GET /attack HTTP/1.1", b": a"),
    "space in a name": get(b"GET /attack HTTP/1.1", b"X Y: a"),
    "space before a colon": get(b"GET /attack HTTP/1.1", b"X : a"),
    "a name in quotes": get(b"GET /attack HTTP/1.1", b'"X": a'),
    "a name beyond ASCII": get(b"GET /attack HTTP/1.1", b"X\xe9: a"),
}

# Hosts and request lines.
HEADS = {
    "two hosts": get(b"GET /attack HTTP/1.1", b"Host: b"),
    "two equal hosts": get(b"GET /attack HTTP/1.1", b"Host: a"),
    "no host": get(host=b""),
    "an empty host": get(host=b"Host:"),
    "a list of hosts": get(host=b"Host: a, b"),
    "a host with a path": get(host=b"Host: a/b"),
    "a host with a user": get(host=b"Host: u@a"),
    "a host with a space": get(host=b"Host: a b"),
    "another host in the target": get(b"GET http://b/attack HTTP/1.1"),
    "another port in the target": get(b"GET http://a:81/attack HTTP/1.1"),
    "a user in the target": get(b"GET http://u@a/attack HTTP/1.1"),
    "another scheme in the target": get(b"GET ftp://a/attack HTTP/1.1"),
    "no slash in the target": get(b"GET attack HTTP/1.1"),
    "asterisk": get(b"GET * HTTP/1.1"),
    "CONNECT": get(b"CONNECT a:80 HTTP/1.1"),
    "TRACE": get(b"TRACE /attack HTTP/1.1"),
    "fragment": get(b"GET /attack#a HTTP/1.1"),
    "two spaces before the version": get(b"GET /attack  HTTP/1.1"),
    "two spaces before the target": get(b"GET  /attack HTTP/1.1"),
    "space behind the version": get(b"GET /attack HTTP/1.1 "),
    "space in the target": get(b"GET /at tack HTTP/1.1"),
    "tab for a space": get(b"GET\t/attack HTTP/1.1"),
    "tab before the version": get(b"GET /attack\tHTTP/1.1"),
    "vertical tab in the target": get(b"GET /at\x0btack HTTP/1.1"),
    "NUL in the target": get(b"GET /at\0tack HTTP/1.1"),
    "space first": get(b" GET /attack HTTP/1.1"),
    "lower-case method": get(b"get /attack HTTP/1.1"),
    "unknown method": get(b"BREW /attack HTTP/1.1"),
    "no method": get(b"/attack HTTP/1.1"),
    "no target": get(b"GET HTTP/1.1"),
    "HTTP/0.9 in short": b"GET /attack\r\n\r\n",
    "HTTP/0.9": get(b"GET /attack HTTP/0.9"),
    "HTTP/1.2": get(b"GET /attack HTTP/1.2"),
    "HTTP/2.0": get(b"GET /attack HTTP/2.0"),
    "HTTP/1": get(b"GET /attack HTTP/1"),
    "HTTP/01.1": get(b"GET /attack HTTP/01.1"),
    "HTTP/1.10": get(b"GET /attack HTTP/1.10"),
    "http/1.1": get(b"GET /attack http/1.1"),
    "HTTPS/1.1": get(b"GET /attack HTTPS/1.1"),
    "ICY": get(b"SOURCE /attack ICE/1.0"),
    "RTSP": get(b"GET /attack RTSP/1.0"),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "garbage": b"\xff\xfe\xfd garbage\r\n\r\n",
    "an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "two keys": get(b"GET /attack HTTP/1.1", b"X-API-Key: " + WRONG_KEY),
    "two kinds of key": get(b"GET /attack HTTP/1.1", b"Authorization: Bearer " + KEY),
}

# Chunks that one reader measures otherwise than another.
CHUNKS = {
    "size +5": chunked(b"+5\r\nhello\r\n" + _EMPTY),
    "size -5": chunked(b"-5\r\nhello\r\n" + _EMPTY),
    "size 0x5": chunked(b"0x5\r\nhello\r\n" + _EMPTY),
    "size 5h": chunked(b"5h\r\nhello\r\n" + _EMPTY),
    "size 5_0": chunked(b"5_0\r\nhello\r\n" + _EMPTY),
    "no size": chunked(b"\r\nhello\r\n" + _EMPTY),
    "no size but an extension": chunked(b";a\r\nhello\r\n" + _EMPTY),
    "size beyond 64 bits": chunked(b"10000000000000005\r\nhello\r\n" + _EMPTY),
    "size behind 300 zeros": chunked(b"0" * 300 + b"5\r\nhello\r\n" + _EMPTY),
    "space before the size": chunked(b" 5\r\nhello\r\n" + _EMPTY),
    "space behind the size": chunked(b"5 \r\nhello\r\n" + _EMPTY),
    "tab behind the size": chunked(b"5\t\r\nhello\r\n" + _EMPTY),
    "LF behind the size": chunked(b"5\nhello\r\n" + _EMPTY),
    "CR behind the size": chunked(b"5\rhello\r\n" + _EMPTY),
    "nothing behind the data": chunked(b"5\r\nhello" + _EMPTY),
    "LF behind the data": chunked(b"5\r\nhello\n" + _EMPTY),
    "CR behind the data": chunked(b"5\r\nhello\r" + _EMPTY),
    "other bytes behind the data": chunked(b"5\r\nhelloXY" + _EMPTY),
    "LF in an extension": chunked(b"5;a\nb\r\nhello\r\n" + _EMPTY),
    "CR in an extension": chunked(b"5;a\rb\r\nhello\r\n" + _EMPTY),
    "NUL in an extension": chunked(b"5;a\0b\r\nhello\r\n" + _EMPTY),
    "LF in a quoted extension": chunked(b'5;a="\n"\r\nhello\r\n' + _EMPTY),
    "CRLF in a quoted extension": chunked(b'5;a="\r\nhello\r\n' + _EMPTY),
    "LF behind the last size": chunked(b"5\r\nhello\r\n0\n\r\n"),
    "LF ends the trailers": chunked(b"5\r\nhello\r\n0\r\n\n"),
    "LF ends a trailer": chunked(b"5\r\nhello\r\n0\r\nX: a\n\r\n"),
    "a trailer without a colon": chunked(b"5\r\nhello\r\n0\r\nX\r\n\r\n"),
    "a folded trailer": chunked(b"5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n"),
    "a request for a trailer": chunked(b"5\r\nhello\r\n0\r\n" + _HIDDEN),
}

HEADS_ALONE = {**LENGTHS, **CODINGS, **LINES, **HEADS}
ALL = {**HEADS_ALONE, **CHUNKS}
