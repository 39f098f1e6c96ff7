"""Which of several places that serve alike is next, and which is left out for a while. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# So many exchanges in a row without one byte of an answer, and a place is left out.
MISSES = 3
# Seconds for which a place is left out: at first, and after many trials in vain.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0


class Standing(NamedTuple):
    """What is known of one place.

    ``misses``: exchanges in a row without an answer. ``pause``: for how long it was left out last, 0
    if it has answered since. ``until``: the time until which it is left out. ``on_trial``: one
    exchange has been let through to see whether it is back, and the others wait for what comes of it.
    """

    misses: int = 0
    pause: float = 0.0
    until: float = 0.0
    on_trial: bool = False

    def is_out(self, now: float) -> bool:
        """Whether it is left out."""
        return now < self.until

    def unreachable(self, now: float) -> Standing:
        """No connection could be made, which leaves it out at once."""
        if self.is_out(now) and not self.on_trial:
            return self  # one of those that were under way when it was left out
        pause = min(2 * self.pause, LONGEST_PAUSE) if self.pause else FIRST_PAUSE
        return Standing(self.misses, pause, now + pause)

    def missed(self, now: float) -> Standing:
        """An exchange got no answer, which leaves it out if it goes on like that."""
        if self.is_out(now) and not self.on_trial:
            return self
        counted = self._replace(misses=self.misses + 1)
        return counted.unreachable(now) if self.pause or counted.misses >= MISSES else counted

    def chosen(self, now: float) -> Standing:
        """An exchange is let through. If it was left out before, that is the trial.

        A trial that comes to no end is forgotten after another pause.
        """
        if not self.pause or self.is_out(now):
            return self
        return Standing(self.misses, self.pause, now + self.pause, on_trial=True)


GOOD = Standing()


Load = tuple[Standing, int]  # with the number of exchanges under way


def order(places: Sequence[Load], now: float, turn: int) -> list[int]:
    """The places, by their numbers, in the order in which to try them.

    Those that are left out come last, so they are used only when nothing else is left. Of the others
    the least busy comes first, and of equals the one whose `turn` it is.
    """
    count = len(places)

    def rank(number: int) -> tuple[bool, int, int]:
        standing, busy = places[number]
        return now < standing.until, busy, (number - turn) % count

    return sorted(range(count), key=rank)


def first(places: Sequence[Load], now: float, turn: int) -> int:
    """The first of the `order`, for less: this is asked for each request."""
    count = len(places)
    best = number = turn % count
    least = -1
    for _ in range(count):
        standing, busy = places[number]
        if standing.until <= now and (busy < least or least < 0):
            if not busy:
                return number
            best, least = number, busy
        number += 1
        if number == count:
            number = 0
    return best if least >= 0 else order(places, now, turn)[0]
