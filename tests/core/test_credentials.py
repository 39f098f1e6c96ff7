"""Where a request carries its key, and that it carries exactly one."""

from __future__ import annotations

import pytest

from scopegate.core.credentials import DEFAULT_KEY_HEADER, credential_fields, the_key
from scopegate.core.head import HeadSorter
from scopegate.core.reasons import Reason, RequestRefused

KEY = b"sg_key"


def presented_key(headers: list[tuple[bytes, bytes]], *, key_header: bytes = DEFAULT_KEY_HEADER) -> str:
    _, _, candidates, _, _ = HeadSorter(key_header).sort(headers)
    return the_key(candidates)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-api-key", KEY)],
        [(b"x-api-key", b" \t" + KEY + b"\t ")],
        [(b"authorization", b"Bearer " + KEY)],
        [(b"authorization", b"bEARER   " + KEY + b" ")],
        [(b"authorization", b"\t Bearer " + KEY)],
        [(b"x-api-key", KEY), (b"authorization", b"Basic dTpw")],
        [(b"accept", b"*/*"), (b"x-api-key", KEY), (b"cookie", b"x-api-key=no")],
    ],
)
def test_the_one_key_is_found(headers: list[tuple[bytes, bytes]]) -> None:
    assert presented_key(headers) == KEY.decode()


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"Basic dTpw")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearertoken")],
        [(b"x-api-keys", KEY)],
        [(b"proxy-authorization", b"Bearer " + KEY)],
        [(b"sec-websocket-protocol", KEY)],
    ],
)
def test_elsewhere_a_key_is_none(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(RequestRefused) as refused:
        presented_key(headers)
    assert refused.value.reason is Reason.KEY_MISSING


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-api-key", KEY), (b"x-api-key", KEY)],
        [(b"x-api-key", b""), (b"x-api-key", KEY)],
        [(b"x-api-key", KEY), (b"authorization", b"Bearer " + KEY)],
        [(b"authorization", b"Bearer " + KEY), (b"authorization", b"bearer other")],
    ],
)
def test_two_fields_that_could_hold_the_key_are_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(RequestRefused) as refused:
        presented_key(headers)
    assert refused.value.reason is Reason.KEY_AMBIGUOUS


@pytest.mark.parametrize("text", [b"", KEY + b"\xa0", b"\x85" + KEY, b'"' + KEY + b'"', KEY + b"," + KEY])
def test_only_space_and_tab_are_taken_off(text: bytes) -> None:
    assert presented_key([(b"x-api-key", text)]) == text.decode("latin-1")


def test_the_key_can_stand_in_another_header() -> None:
    assert presented_key([(b"x-token", KEY)], key_header=b"x-token") == KEY.decode()
    with pytest.raises(RequestRefused):
        presented_key([(b"x-api-key", KEY)], key_header=b"x-token")


@pytest.mark.parametrize(
    ("authorization", "dropped"),
    [(b"Bearer k", True), (b" bearer k", True), (b"BEARER", True), (b"Basic dTpw", False), (b"", False)],
)
def test_an_authorization_is_dropped_only_if_it_may_hold_a_key(
    authorization: bytes, *, dropped: bool
) -> None:
    names = credential_fields([(b"authorization", authorization)])
    assert names == ({b"x-api-key", b"authorization"} if dropped else {b"x-api-key"})
