"""One pass over the fields of a request finds all that its decision depends on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate.core.framing import body_framing, framing_of
from scopegate.core.head import HeadSorter
from scopegate.core.reasons import Reason, RequestRefused

SORTER = HeadSorter(b"x-api-key")
NAMES = (
    b"accept",
    b"authorization",
    b"content-length",
    b"content_length",
    b"host",
    b"transfer-encoding",
    b"transfer_encoding",
    b"x-api-key",
)
VALUES = (b"", b"0", b"5", b"chunked", b"gzip", b"Bearer k", b"Basic k")


def test_every_decisive_field_is_found_and_no_other() -> None:
    fields = [
        (b"host", b"one"),
        (b"accept", b"*/*"),
        (b"x-api-key", b"key"),
        (b"content-length", b"5"),
        (b"authorization", b"Bearer token"),
        (b"authorization", b"Basic dTpw"),
        (b"transfer-encoding", b"chunked"),
        (b"x-host", b"three"),
        (b"host", b"two"),
    ]
    size = sum(len(name) + len(value) for name, value in fields)
    assert SORTER.sort(fields) == (
        size,
        [b"one", b"two"],
        [b"key", b"token"],
        [b"5"],
        [b"chunked"],
    )


def test_the_key_may_stand_in_authorization_itself() -> None:
    fields = [(b"authorization", b"key"), (b"x-api-key", b"other")]
    assert HeadSorter(b"authorization").sort(fields)[2] == [b"key"]


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=4),
    st.sampled_from(["1.0", "1.1", "2"]),
)
def test_the_framing_of_a_head_is_that_of_its_fields(fields: list[tuple[bytes, bytes]], version: str) -> None:
    def told(sorted_out: bool) -> object:  # noqa: FBT001
        try:
            if not sorted_out:
                return body_framing(fields, http_version=version)
            *_, lengths, codings = SORTER.sort(fields)
            return framing_of(lengths, codings, http_version=version)
        except RequestRefused as refused:
            return refused.reason

    assert told(sorted_out=True) == told(sorted_out=False)


@pytest.mark.parametrize("name", [b"content_length", b"transfer_encoding"])
def test_a_name_that_looks_like_framing_is_refused(name: bytes) -> None:
    with pytest.raises(RequestRefused) as refused:
        SORTER.sort([(b"host", b"h"), (name, b"0")])
    assert refused.value.reason is Reason.FRAMING_MALFORMED
