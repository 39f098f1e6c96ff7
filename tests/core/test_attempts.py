"""Failed authentications: whose they are, and when they are too many."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate.core.attempts import CELLS, FailureLimit, in_seconds, origin_of
from scopegate.core.errors import InvalidInput
from scopegate.core.forwarding import TrustedProxies

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
START = 5 * SECOND
PROXIES = TrustedProxies.parse(["10.0.0.0/8", "fd00::/8", "9.9.9.0/24"])


def limit(a_minute: int, *, cells: int = CELLS) -> FailureLimit:
    return FailureLimit(a_minute, secret=b"secret", cells=cells)


# When they are too many


def test_a_minutes_failures_are_allowed_at_once_and_then_one_at_a_time() -> None:
    limited = limit(6)
    assert [limited.count(b"a", START) for _ in range(8)] == [0] * 6 + [10 * SECOND] * 2
    assert limited.wait(b"a", START + 9 * SECOND) == SECOND
    assert limited.count(b"a", START + 10 * SECOND - 1) == 1
    assert limited.count(b"a", START + 10 * SECOND) == 0
    assert limited.count(b"a", START + 10 * SECOND) == 10 * SECOND
    assert limited.wait(b"b", START) == 0


def test_who_stops_failing_is_forgiven_everything_after_a_minute() -> None:
    limited = limit(6)
    assert [limited.count(b"a", START) for _ in range(7)][-1] > 0
    assert [limited.count(b"a", START + MINUTE) for _ in range(7)] == [0] * 6 + [10 * SECOND]


def test_waiting_and_asking_cost_nothing() -> None:
    limited = limit(2)
    for _ in range(9):
        assert limited.wait(b"a", START) == 0
    assert [limited.count(b"a", START) for _ in range(3)] == [0, 0, 30 * SECOND]
    for _ in range(9):
        assert limited.count(b"a", START) == 30 * SECOND  # what is one too many makes it no worse


@given(
    a_minute=st.integers(1, 100),
    pauses=st.lists(st.integers(0, 20 * SECOND), min_size=1, max_size=300),
)
def test_an_origin_alone_has_a_bucket_of_tokens(a_minute: int, pauses: list[int]) -> None:
    limited = limit(a_minute)
    interval = MINUTE // a_minute
    full = a_minute * interval
    now, tokens = START, full  # in units of time, so that they stay whole
    for pause in pauses:
        now, tokens = now + pause, min(full, tokens + pause)
        wait = max(0, interval - tokens)
        assert limited.wait(b"a", now) == wait
        assert limited.count(b"a", now) == wait
        tokens -= 0 if wait else interval


@given(
    a_minute=st.integers(1, 20),
    cells=st.integers(1, 12),
    failures=st.lists(st.tuples(st.integers(0, 15), st.integers(0, 5 * SECOND)), max_size=300),
)
def test_no_origin_is_allowed_more_however_many_share_its_cells(
    a_minute: int, cells: int, failures: list[tuple[int, int]]
) -> None:
    limited = limit(a_minute, cells=cells)
    allowed: dict[int, list[int]] = {}
    now = START
    for origin, pause in failures:
        now += pause
        if not limited.count(bytes([origin]), now):
            allowed.setdefault(origin, []).append(now)
    interval = MINUTE // a_minute
    for times in allowed.values():
        for first in range(len(times)):
            for last in range(first, len(times)):
                assert last - first + 1 <= a_minute + (times[last] - times[first]) // interval


def test_many_origins_over_the_limit_leave_the_others_theirs() -> None:
    limited = limit(60)
    for attacker in range(1_000):
        while not limited.count(b"bad %d" % attacker, START):
            pass
    met = sum(limited.wait(b"good %d" % bystander, START) > 0 for bystander in range(10_000))
    assert met <= 5
    assert all(limited.wait(b"bad %d" % attacker, START) > 0 for attacker in range(1_000))


def test_a_crowd_of_origins_takes_no_memory_and_pushes_nobody_out() -> None:
    limited = limit(60)
    while not limited.count(b"known", START):
        pass
    for stranger in range(100_000):
        limited.count(b"%d" % stranger, START)
    assert limited.wait(b"known", START) > 0
    assert limited._cells.itemsize * len(limited._cells) == 8 * CELLS


@pytest.mark.parametrize("a_minute", [-1, 0, 1_000_001])
def test_a_limit_that_is_none_is_refused(a_minute: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        limit(a_minute)
    assert refused.value.field == "failed_auth_limit"


def test_who_shares_cells_depends_on_a_secret() -> None:
    places = {tuple(FailureLimit(1, secret=b"%d" % number)._of(b"a")) for number in range(20)}
    assert len(places) == 20


def test_a_time_to_wait_is_told_in_whole_seconds_that_are_enough() -> None:
    waits = [1, SECOND - 1, SECOND, SECOND + 1, 59 * SECOND + 1]
    assert [in_seconds(wait) for wait in waits] == [1, 1, 1, 2, 60]
    assert all(earlier <= later for earlier, later in pairwise(map(in_seconds, waits)))


# Whose they are


def origin(client: str | None, *fields: tuple[bytes, bytes]) -> bytes | None:
    return origin_of(fields, client=client, trusted=PROXIES)


def packed(*parts: int) -> bytes:
    return bytes(parts)


def claimed(text: str) -> tuple[bytes, bytes]:
    return b"x-forwarded-for", text.encode()


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ("8.8.4.4", packed(8, 8, 4, 4)),
        ("::ffff:8.8.4.4", packed(8, 8, 4, 4)),
        ("64:ff9b::808:404", packed(8, 8, 4, 4)),
        ("2a00:1450:4001:82a::200e", packed(0x2A, 0, 0x14, 0x50, 0x40, 0x01, 0x08, 0x2A)),
        ("2a00:1450:4001:82a:ffff:1:2:3%eth0", packed(0x2A, 0, 0x14, 0x50, 0x40, 0x01, 0x08, 0x2A)),
        ("127.0.0.1", None),
        ("::1", None),
        ("192.168.1.7", None),
        ("100.64.0.1", None),  # a carrier's own (RFC 6598), or a cloud's load balancer
        ("169.254.1.1", None),
        ("fe80::1%eth0", None),
        ("::ffff:127.0.0.1", None),
        ("64:ff9b::a00:1", None),
        ("testclient", None),
        ("", None),
        (None, None),
    ],
)
def test_a_peer_that_is_not_trusted_is_whom_its_address_says(
    client: str | None, expected: bytes | None
) -> None:
    assert origin(client) == expected
    assert origin(client, claimed("1.1.1.1")) == expected


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ([claimed("8.8.4.4")], packed(8, 8, 4, 4)),
        ([claimed("1.1.1.1, 8.8.4.4")], packed(8, 8, 4, 4)),
        ([claimed("1.1.1.1, 8.8.4.4, 10.2.2.2, 9.9.9.9")], packed(8, 8, 4, 4)),
        ([claimed("1.1.1.1"), claimed("8.8.4.4")], packed(8, 8, 4, 4)),
        ([claimed("nonsense, 8.8.4.4")], packed(8, 8, 4, 4)),
        (
            [(b"forwarded", b'for=1.1.1.1, for="[2a00:1450::1]";proto=https')],
            packed(0x2A, 0, 0x14, 0x50, *[0] * 4),
        ),
        ([(b"x-real-ip", b"8.8.4.4")], packed(8, 8, 4, 4)),
        ([], None),
        ([claimed("8.8.4.4, nonsense")], None),
        ([claimed("8.8.4.4, unknown")], None),
        ([claimed("8.8.4.4, 192.168.0.1")], None),  # perhaps a proxy that was not named
        ([claimed("9.9.9.1, 10.9.9.9")], None),
    ],
)
def test_behind_trusted_peers_it_is_the_last_that_is_none(
    claims: list[tuple[bytes, bytes]], expected: bytes | None
) -> None:
    assert origin("10.1.1.1", *claims) == expected
