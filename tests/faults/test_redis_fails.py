"""Redis itself fails: it dies, comes back with its data or without, stands still, or still loads."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from e2e.processes import wait_until
from faults.conftest import STALE
from faults.history import Effect, longest_outage_after, waits
from faults.scene import STRANGER

if TYPE_CHECKING:
    from collections.abc import Callable

    from faults.scene import Scene


@pytest.mark.parametrize("seen", [1, 2], indirect=True, ids=["one worker", "two workers"])
def test_it_is_killed_and_comes_back_with_its_data(seen: Scene, figure: Callable[..., None]) -> None:
    seen.create("kept", "cold", "revoked")
    seen.call("kept", "revoked", times=4)
    seen.call(STRANGER)
    seen.known("kept", "revoked")
    seen.switch("revoked", enabled=False)
    with seen.fault(Effect.CUT_OFF) as outage:
        seen.redis.kill()
        outage.in_force()
        seen.call("cold")
        seen.watch(STALE + 1.0)
        outage.healing()
        seen.redis.start()
    seen.settle(200, "kept", "cold")
    seen.settle(401, "revoked")
    seen.judge()
    figure(
        recovery=longest_outage_after(seen.history, outage.noted),
        p99_of_known=waits(seen.history, outage.noted, frozenset({"kept"}), 0.99),
    )


def test_it_is_killed_and_comes_back_empty(patient: Scene) -> None:
    """What the workers know is void as soon as Redis says so; it is no reserve."""
    patient.create("lost")
    patient.call("lost", times=4)
    patient.known("lost")
    with patient.fault(Effect.CUT_OFF) as outage:
        patient.redis.kill()
        outage.in_force()
        patient.watch(0.5)
        outage.healing()
        patient.redis.forget()
        begun = time.monotonic()
        patient.redis.start()
        patient.note(begun, "lost", opens=False)
    patient.settle(401)
    patient.judge()


def test_it_stands_still_and_goes_on(seen: Scene, figure: Callable[..., None]) -> None:
    seen.create("kept", "revoked", "cold")
    seen.call("kept", "revoked", times=4)
    seen.call(STRANGER)
    seen.known("kept", "revoked")
    with seen.fault(Effect.CUT_OFF) as outage:
        seen.redis.pause()
        outage.in_force()
        seen.call("cold")
        # It is sent, and nobody says that it was done.
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", seen.redis.port)) as administrator:
            administrator.sendall(f"DEL {seen.name_in_redis('revoked')}\r\n".encode())
            seen.watch(STALE + 1.0)
            outage.healing()
            seen.redis.resume()
            assert administrator.recv(16) == b":1\r\n"
        seen.note(begun, "revoked", opens=False)
    seen.settle(200, "kept", "cold")
    seen.settle(401, "revoked")
    seen.judge()
    figure(
        recovery=longest_outage_after(seen.history, outage.noted),
        p99_of_known=waits(seen.history, outage.noted, frozenset({"kept"}), 0.99),
    )


def test_it_stands_still_for_less_than_anybody_notices(seen: Scene) -> None:
    seen.create("kept", "cold")
    seen.call("kept", times=2)
    seen.call(STRANGER)
    seen.known("kept")
    for _ in range(3):
        seen.redis.pause()
        seen.watch(0.4)
        seen.redis.resume()
        seen.watch(0.2)
    seen.call("cold")
    seen.settle()
    seen.judge()  # no fault is noted, so nothing but right answers will do


def test_it_still_loads_its_data(seen: Scene) -> None:
    """A server that loads tracks already and can tell nothing; the known keys go on to be served."""
    seen.create("kept", *(f"ballast-{number}" for number in range(60)))
    seen.call("kept", times=4)
    seen.call(STRANGER)
    seen.known("kept")
    seen.redis.compact()
    with seen.fault(Effect.CUT_OFF) as outage:
        seen.redis.kill()
        outage.in_force()
        # 50 ms for each record, and after each kilobyte it answers whoever asks.
        seen.redis.start("--key-load-delay", "50000", "--loading-process-events-interval-bytes", "1024")
        wait_until(seen.redis.is_loading, "it loads")
        seen.watch(1.5)
        assert seen.redis.is_loading()
        outage.healing()
        wait_until(lambda: not seen.redis.is_loading(), "it has loaded")
    seen.settle()
    seen.judge()


def test_a_key_expires_while_nobody_can_ask(patient: Scene) -> None:
    """Expiry needs no Redis: the last known rights end to the second."""
    patient.create("kept")
    expires_at = datetime.now(UTC) + timedelta(seconds=3)
    patient.create("expires", expires_at=expires_at)
    patient.call("kept", "expires", times=4)
    patient.known("kept", "expires")
    with patient.fault(Effect.CUT_OFF) as outage:
        patient.redis.kill()
        outage.in_force()
        at = time.monotonic() + (expires_at - datetime.now(UTC)).total_seconds()
        patient.settle(401, "expires")
        outage.healing()
        patient.redis.start()
    patient.end()
    told = [answer for answer in patient.history.answers if answer.key == "expires"]
    assert not [answer for answer in told if answer.status == 200 and answer.sent > at + 0.05]
    assert not [answer for answer in told if answer.status == 401 and answer.answered < at - 0.05]
    assert {answer.code for answer in told if answer.status == 401} == {"key_expired"}
    assert min(answer.sent for answer in told if answer.status == 401) < outage.noted.healing
    assert {answer.status for answer in patient.history.answers if answer.key == "kept"} == {200}


@pytest.mark.parametrize("seen", [1, 2], indirect=True, ids=["one worker", "two workers"])
def test_everything_is_flushed(seen: Scene) -> None:
    seen.create("one", "two")
    seen.call("one", "two", times=4)
    seen.known("one", "two")
    begun = time.monotonic()
    with seen.redis.client() as administrator:
        administrator.flushall()
    seen.note(begun, "one", "two", opens=False)
    seen.settle(401)
    seen.judge()
