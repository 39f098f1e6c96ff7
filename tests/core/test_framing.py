"""Where a body ends: told in one way, or refused."""

from __future__ import annotations

import pytest

from scopegate.core.framing import Body, Framing, body_framing
from scopegate.core.reasons import Reason, RequestRefused

HOST = (b"host", b"h")
LENGTH = b"content-length"
CODING = b"transfer-encoding"


@pytest.mark.parametrize(
    ("fields", "version", "framing"),
    [
        ([], "1.1", Framing(Body.NONE, -1)),
        ([], "1.0", Framing(Body.NONE, -1)),
        ([], "2", Framing(Body.UNANNOUNCED, -1)),
        ([], "3", Framing(Body.UNANNOUNCED, -1)),
        ([(LENGTH, b"0")], "1.1", Framing(Body.NONE, 0)),
        ([(LENGTH, b"0")], "2", Framing(Body.NONE, 0)),
        ([(LENGTH, b"5")], "1.0", Framing(Body.LENGTH, 5)),
        ([(LENGTH, b"5")], "2", Framing(Body.LENGTH, 5)),
        ([(LENGTH, b"005")], "1.1", Framing(Body.LENGTH, 5)),
        ([(LENGTH, b"9" * 18)], "1.1", Framing(Body.LENGTH, 10**18 - 1)),
        ([(CODING, b"chunked")], "1.1", Framing(Body.CHUNKED, -1)),
        ([(CODING, b"Chunked")], "1.1", Framing(Body.CHUNKED, -1)),
    ],
)
def test_a_body_ends_where_its_one_field_says(
    fields: list[tuple[bytes, bytes]], version: str, framing: Framing
) -> None:
    assert body_framing([HOST, *fields], http_version=version) == framing


NO_LENGTHS = (
    b"",
    b"-1",
    b"+1",
    b"1_0",
    b"0x5",
    b"1,1",
    b"1, 1",
    b"1 ",
    b" 1",
    b"1\n",
    b"1.0",
    b"1e3",
    "٣".encode(),
    b"9" * 19,
)
NO_CODINGS = (
    b"",
    b"gzip",
    b"identity",
    b"gzip, chunked",
    b"chunked, chunked",
    b"chunked, identity",
    b"xchunked",
    b"chunked ",
    b"\x0bchunked",
    b"chunked;q=1",
    b"chunked\x00",
)


@pytest.mark.parametrize(
    "fields",
    [
        *([(LENGTH, value)] for value in NO_LENGTHS),
        *([(CODING, value)] for value in NO_CODINGS),
        [(LENGTH, b"5"), (LENGTH, b"5")],
        [(LENGTH, b"5"), (LENGTH, b"6")],
        [(LENGTH, b"5"), (CODING, b"chunked")],
        [(CODING, b"chunked"), (LENGTH, b"5")],
        [(CODING, b"chunked"), (CODING, b"chunked")],
        [(b"content_length", b"5")],
        [(b"content_length", b"5"), (LENGTH, b"5")],
        [(CODING, b"chunked"), (b"transfer_encoding", b"x")],
        [(b"transfer_encoding", b"chunked")],
    ],
    ids=str,
)
@pytest.mark.parametrize("version", ["1.0", "1.1", "2"])
def test_what_two_readers_could_end_differently_is_refused(
    fields: list[tuple[bytes, bytes]], version: str
) -> None:
    with pytest.raises(RequestRefused) as refused:
        body_framing([HOST, *fields], http_version=version)
    assert refused.value.reason is Reason.FRAMING_MALFORMED


@pytest.mark.parametrize("version", ["1.0", "1", "2", "3"])
def test_only_http_1_1_has_transfer_encodings(version: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        body_framing([HOST, (CODING, b"chunked")], http_version=version)
    assert refused.value.reason is Reason.FRAMING_MALFORMED
