"""The network between the workers and Redis fails, all of it or the connection that tells of changes."""

from __future__ import annotations

from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest

from e2e.processes import wait_until
from faults.conftest import STALE
from faults.history import Effect, longest_after_revocation, longest_outage_after, waits
from faults.proxy import BLACKHOLE, PASS, Link, Treatment
from faults.scene import STRANGER, USER

if TYPE_CHECKING:
    from collections.abc import Callable

    from faults.redisserver import RedisServer
    from faults.scene import Scene


def tracks(link: Link) -> bool:
    return link.tracking


@pytest.mark.parametrize(
    ("seen", "heals"),
    [(1, "what was lost is sent again"), (2, "what was lost is lost")],
    indirect=["seen"],
    ids=["one worker", "two workers"],
)
def test_nothing_gets_through_any_more(seen: Scene, figure: Callable[..., None], heals: str) -> None:
    seen.gateway.fill()
    seen.create("kept", "cold", "revoked")
    seen.create("of a user", user=USER)
    seen.call("kept", "revoked", "of a user", times=4)
    seen.call(STRANGER)
    seen.known("kept", "revoked", "of a user")
    with seen.fault(Effect.CUT_OFF) as split:
        seen.proxy.treat_all(BLACKHOLE)
        split.in_force()
        seen.switch("revoked", enabled=False)
        seen.call("cold")
        seen.watch(STALE + 1.0)
        split.healing()
        if heals == "what was lost is lost":
            seen.proxy.cut()
        seen.proxy.heal()
    seen.settle(200, "kept", "cold", "of a user")
    seen.settle(401, "revoked")
    seen.judge()
    figure(
        recovery=longest_outage_after(seen.history, split.noted),
        p99_of_known=waits(seen.history, split.noted, frozenset({"kept"}), 0.99),
        p99_of_strangers=waits(seen.history, split.noted, frozenset({STRANGER}), 0.99),
    )


def test_who_is_known_does_not_wait_while_nothing_gets_through(
    patient: Scene, figure: Callable[..., None]
) -> None:
    patient.create("kept", "too")
    patient.call("kept", "too", times=4)
    patient.call(STRANGER)
    patient.known("kept", "too")
    with patient.fault(Effect.CUT_OFF) as split:
        patient.proxy.treat_all(BLACKHOLE)
        split.in_force()
        patient.watch(4.0)
        split.healing()
        patient.proxy.cut()
        patient.proxy.heal()
    patient.settle()
    patient.judge()
    figure(
        recovery=longest_outage_after(patient.history, split.noted),
        p99_of_known=waits(patient.history, split.noted, patient.history.known, 0.99),
        longest_of_known=waits(patient.history, split.noted, patient.history.known, 1.0),
    )


@pytest.mark.parametrize("way", ["up", "down"])
def test_nothing_gets_through_in_one_direction(seen: Scene, way: str) -> None:
    seen.create("kept")
    seen.call("kept", times=2)
    seen.call(STRANGER)
    seen.known("kept")
    with seen.fault(Effect.CUT_OFF) as split:
        seen.proxy.treat_all(Treatment(hold_up=way == "up", hold_down=way == "down"))
        split.in_force()
        seen.watch(STALE + 1.0)
        split.healing()
        seen.proxy.heal()
    seen.settle()
    seen.judge()


def test_every_connection_is_cut_and_none_let_in(seen: Scene, figure: Callable[..., None]) -> None:
    seen.create("kept", "revoked")
    seen.call("kept", "revoked", times=4)
    seen.call(STRANGER)
    seen.known("kept", "revoked")
    with seen.fault(Effect.CUT_OFF) as split:
        seen.proxy.refuse()
        seen.proxy.cut()
        split.in_force()
        seen.switch("revoked", enabled=False)
        seen.watch(STALE + 1.0)
        split.healing()
        seen.proxy.accept()
    seen.settle(200, "kept")
    seen.settle(401, "revoked")
    seen.judge()
    figure(
        recovery=longest_outage_after(seen.history, split.noted),
        p99_of_known=waits(seen.history, split.noted, frozenset({"kept"}), 0.99),
    )


def test_one_of_two_workers_is_cut_off(patient: Scene) -> None:
    """The other one goes on as if nothing were; it is the network's fault and no state that they share."""
    patient.create("revoked")
    clients = patient.call("revoked", times=8)
    patient.known("revoked")
    workers = {client: patient.worker_of(client.socket) for client in clients}
    assert len(set(workers.values())) == 2
    split_off = workers[clients[0]]
    theirs = {link for link in patient.proxy.links() if patient.worker_of(link.socket) == split_off}
    assert any(link.tracking for link in theirs)
    with patient.fault(Effect.CUT_OFF) as split:
        others = {link for link in patient.proxy.links() if link not in theirs}
        patient.proxy.treat(lambda link: PASS if link in others else BLACKHOLE)
        split.in_force()
        patient.switch("revoked", enabled=False)
        wait_until(
            lambda: all(client.told[-1].status == 401 for client in clients if workers[client] != split_off),
            "the other worker knows",
        )
        assert {client.told[-1].status for client in clients if workers[client] == split_off} == {200}
        split.healing()
        patient.proxy.heal()
    patient.settle(401)
    patient.judge()


# The connection that tells of changes, alone


def test_it_is_cut(seen: Scene) -> None:
    seen.create("kept", "switched")
    seen.call("kept", "switched", times=4)
    seen.call(STRANGER)
    seen.known("kept", "switched")
    for enabled in (False, True, False):
        before = seen.told()
        assert seen.proxy.cut(tracks) == len(before) == 2
        seen.switch("switched", enabled=enabled)
        seen.settle(200 if enabled else 401, "switched")
        seen.wait_until_others_are_told(before)
    seen.judge()  # each request reads Redis meanwhile, so nothing but right answers will do


def test_what_changes_while_it_is_cut_is_not_missed(seen: Scene) -> None:
    """Nobody asks for the key meanwhile, so nothing but the new connection says that it is another one."""
    seen.create("asleep")
    seen.call("asleep", times=4)
    seen.known("asleep")
    seen.end()
    seen.proxy.refuse()
    before = seen.told()
    assert seen.proxy.cut(tracks) == len(before) == 2
    wait_until(lambda: not seen.told(), "nobody is told")
    seen.switch("asleep", enabled=False)
    seen.proxy.accept()
    seen.wait_until_others_are_told(before)
    seen.call("asleep", times=4)
    seen.settle(401, "asleep")
    seen.judge()


def test_it_is_cut_all_the_time(seen: Scene, figure: Callable[..., None]) -> None:
    seen.create("kept", "switched")
    seen.call("kept", "switched", times=4)
    seen.call(STRANGER)
    seen.known("kept", "switched")
    for cut in range(20):
        seen.proxy.cut(tracks)
        if cut % 10 == 5:
            seen.switch("switched", enabled=cut % 20 == 15)
        seen.watch(0.1)
    seen.settle()
    seen.judge()
    figure(revocation=longest_after_revocation(seen.history))


@pytest.mark.parametrize("lasts", ["this connection", "each such connection"])
def test_it_falls_silent(seen: Scene, figure: Callable[..., None], lasts: str) -> None:
    """The most dangerous fault: all seems well. The heartbeat is what notices it."""
    seen.gateway.fill()
    seen.create("kept", "revoked")
    seen.create("of a user", user=USER)
    seen.call("kept", "revoked", "of a user", times=4)
    seen.call(STRANGER)
    seen.known("kept", "revoked", "of a user")
    with seen.fault(Effect.DEAF) as silence:
        silent = set(seen.proxy.links(tracks))
        assert len(silent) == 2
        each = lasts == "each such connection"
        seen.proxy.treat(lambda link: BLACKHOLE if link in silent or (each and link.tracking) else PASS)
        silence.in_force()
        seen.switch("revoked", enabled=False)
        seen.switch_user("of a user", active=False)
        seen.settle(401, "revoked")
        seen.settle(403, "of a user")
        seen.watch(1.0)
        silence.healing()
        seen.proxy.heal()
    seen.settle(200, "kept")
    seen.judge()
    figure(
        revocation=longest_after_revocation(seen.history),
        p99_of_known=waits(seen.history, silence.noted, frozenset({"kept"}), 0.99),
    )


def test_it_is_too_slow_for_what_it_has_to_tell(seen: Scene, figure: Callable[..., None]) -> None:
    """Something arrives all the time, and all of it is later than the piece before."""
    seen.create("kept", "revoked")
    seen.call("kept", "revoked", times=2)
    seen.call(STRANGER)
    seen.known("kept", "revoked")
    enough = Event()
    others = Thread(target=write_all_the_time, args=(seen.redis, enough))
    others.start()
    try:
        with seen.fault(Effect.DEAF) as congestion:
            seen.proxy.treat(lambda link: Treatment(rate=40_000) if link.tracking else PASS)
            congestion.in_force()
            seen.watch(3.0)  # it falls behind ever more
            seen.switch("revoked", enabled=False)
            seen.settle(401, "revoked")
            enough.set()
            congestion.healing()
            seen.proxy.heal()
    finally:
        enough.set()
        others.join()
    seen.settle(200, "kept")
    seen.judge()
    figure(revocation=longest_after_revocation(seen.history))


def write_all_the_time(server: RedisServer, enough: Event) -> None:
    with server.client() as client:
        while not enough.wait(0.01):
            with client.pipeline(transaction=False) as pipe:
                for number in range(100):
                    pipe.set(f"sg:{{zzz}}:key:zzz{number:09d}", "x")
                pipe.execute()


# All of it is slow


@pytest.mark.parametrize("delay", [0.05, 0.3])
def test_everything_takes_its_time(seen: Scene, figure: Callable[..., None], delay: float) -> None:
    """`delay` each way: the answers are right, and there is one for each."""
    seen.create("kept", "switched", "cold")
    seen.call("kept", "switched", times=4)
    seen.call(STRANGER)
    seen.known("kept", "switched")
    seen.proxy.treat_all(Treatment(delay=delay))
    seen.promise = seen.promise.late_by(2 * delay)
    seen.call("cold", times=2)
    for enabled in (False, True, False):
        seen.switch("switched", enabled=enabled)
        seen.settle(200 if enabled else 401, "switched")
    seen.settle(200, "kept", "cold")
    seen.judge()
    figure(revocation=longest_after_revocation(seen.history))


def test_everything_takes_longer_than_a_command_may(seen: Scene, figure: Callable[..., None]) -> None:
    """It is as if Redis were not there."""
    seen.create("kept")
    seen.call("kept", times=2)
    seen.call(STRANGER)
    seen.known("kept")
    with seen.fault(Effect.CUT_OFF) as crawl:
        seen.proxy.treat_all(Treatment(delay=2.5))
        crawl.in_force()
        seen.watch(STALE + 1.0)
        crawl.healing()
        seen.proxy.heal()
    seen.settle()
    seen.judge()
    figure(
        recovery=longest_outage_after(seen.history, crawl.noted),
        p99_of_known=waits(seen.history, crawl.noted, frozenset({"kept"}), 0.99),
    )
