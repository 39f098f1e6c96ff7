"""A circuit breaker: whether somebody who failed several times in a row is asked again now."""

from __future__ import annotations


class Breaker:
    """Opens after `failures` failures in a row, and then lets one question through every `pause` seconds.

    The first success closes it. A question that it let through while it was open, and of which it never
    hears again, keeps nobody out: the next one may follow a pause later.

    Moments are seconds since some moment, and never go back.
    """

    __slots__ = ("_failed", "_failures", "_open_until", "_pause")

    def __init__(self, *, failures: int, pause: float) -> None:
        self._failures = failures
        self._pause = pause
        self._failed = 0  # in a row
        self._open_until: float | None = None

    @property
    def is_closed(self) -> bool:
        """Whether everybody may ask."""
        return self._open_until is None

    def admits(self, now: float) -> bool:
        """Whether a question may be asked at `now`; whoever is told so asks it."""
        if self._open_until is None:
            return True
        if now < self._open_until:
            return False
        self._open_until = now + self._pause
        return True

    def succeeded(self) -> None:
        """A question was answered."""
        self._failed = 0
        self._open_until = None

    def failed(self, now: float) -> None:
        """A question was not answered; that was found at `now`."""
        self._failed += 1
        if self._open_until is None and self._failed >= self._failures:
            self._open_until = now + self._pause
