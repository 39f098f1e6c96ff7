"""What is open while changes may go unnoticed, or while nobody can be asked, ends when it has to."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from e2e.processes import DEADLINE, wait_until
from faults.conftest import STALE
from faults.proxy import BLACKHOLE, PASS, Link

if TYPE_CHECKING:
    from collections.abc import Callable

    from faults.scene import Scene, Stream

HEARD = 1.5  # seconds that the last sign of life can be older than the fault, and more


def tracks(link: Link) -> bool:
    return link.tracking


def end_of(stream: Stream) -> float:
    """Wait until a stream is cut off; when that was."""
    wait_until(lambda: stream.ended is not None, "the stream is cut off")
    assert stream.ended is not None
    return stream.ended


def test_it_ends_when_the_last_known_rights_count_no_longer(seen: Scene, figure: Callable[..., None]) -> None:
    seen.create("kept")
    stream = seen.stream("kept")
    killed = time.monotonic()
    seen.redis.kill()
    after = end_of(stream) - killed
    assert STALE - HEARD < after < STALE + DEADLINE / 2
    figure(end=after)


def test_it_goes_on_through_a_short_outage(patient: Scene) -> None:
    patient.create("kept", "revoked")
    kept, revoked = patient.stream("kept"), patient.stream("revoked")
    live = patient.told()
    patient.proxy.refuse()
    patient.proxy.cut()
    patient.switch("revoked", enabled=False)
    patient.watch(1.5)  # longer than it takes to look after everything once
    assert kept.is_going_on()
    assert revoked.is_going_on()  # nobody can know
    back = time.monotonic()
    patient.proxy.accept()
    assert end_of(revoked) > back
    patient.wait_until_others_are_told(live)
    assert kept.is_going_on()


def test_it_ends_also_while_changes_are_not_told(patient: Scene, figure: Callable[..., None]) -> None:
    """Whoever asks Redis for each request asks it also for what is open, now and then."""
    patient.create("kept", "revoked")
    kept, revoked = patient.stream("kept"), patient.stream("revoked")
    open_now = set(patient.proxy.links())
    # Connections that there are go on; those that tell are cut, and what comes in their place is mute.
    patient.proxy.treat(lambda link: PASS if link in open_now and not link.tracking else BLACKHOLE)
    patient.proxy.cut(tracks)
    patient.switch("revoked", enabled=False)
    changed = time.monotonic()
    after = end_of(revoked) - changed
    assert kept.is_going_on()
    patient.proxy.heal()
    figure(end=after)


def test_a_silent_line_does_not_keep_it_open(patient: Scene, figure: Callable[..., None]) -> None:
    patient.create("kept", "revoked")
    kept, revoked = patient.stream("kept"), patient.stream("revoked")
    patient.proxy.treat(lambda link: BLACKHOLE if link.tracking else PASS)
    patient.switch("revoked", enabled=False)
    changed = time.monotonic()
    after = end_of(revoked) - changed
    assert kept.is_going_on()
    patient.proxy.heal()
    figure(end=after)


def test_it_ends_with_its_key_without_redis(patient: Scene) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=2)
    patient.create("ends", expires_at=expires_at)
    patient.create("kept")
    kept, ends = patient.stream("kept"), patient.stream("ends")
    patient.proxy.treat_all(BLACKHOLE)
    end_of(ends)
    assert datetime.now(UTC) >= expires_at
    assert kept.is_going_on()
