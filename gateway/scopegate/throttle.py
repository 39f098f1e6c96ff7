"""Says what happens over and over only now and then: an outage must not fill the disk as well."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL = 10.0  # seconds


class Throttle:
    """Tells whether it is time to speak of a kind of event again.

    Args:
        interval: the seconds for which a kind is not spoken of again.
        clock: tells the seconds since some moment.
    """

    def __init__(self, interval: float = INTERVAL, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._spoken_of: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def due(self, kind: str) -> int | None:
        """How many events of this `kind` went unmentioned, or None if this one should too.

        Kinds are few and made by us; they are never what a client sent.
        """
        now = self._clock()
        last = self._spoken_of.get(kind)
        if last is not None and now - last < self._interval:
            self._held_back[kind] = self._held_back.get(kind, 0) + 1
            return None
        self._spoken_of[kind] = now
        return self._held_back.pop(kind, 0)
