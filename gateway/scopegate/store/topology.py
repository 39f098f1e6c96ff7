"""Which server is in charge of what, as those say who decide it."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.crc import key_slot
from redis.exceptions import RedisError

from scopegate.store.location import Address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scopegate.store.location import Server

SLOTS = 16_384


class Unserved(RedisError):
    """No server is in charge, or those who decide it do not agree about which."""


class Slots(NamedTuple):
    """A run of hash slots, the last one included, and the server that has them."""

    first: int
    last: int
    server: Server


@dataclass(frozen=True, slots=True)
class Topology:
    """The servers in charge. Equal ones have the same servers in charge of the same slots."""

    slots: tuple[Slots, ...]

    @classmethod
    def of_one(cls, server: Server) -> Topology:
        """One server for everything."""
        return cls((Slots(0, SLOTS - 1, server),))

    @property
    def servers(self) -> frozenset[Server]:
        """All that are in charge of something."""
        return frozenset(run.server for run in self.slots)

    def server_of(self, tag: str) -> Server:
        """The server that has all names with the hash tag `tag`.

        Raises:
            Unserved: nobody has them.
        """
        slot = key_slot(tag.encode())
        found = bisect_right(self.slots, slot, key=lambda run: run.first) - 1
        if found < 0 or self.slots[found].last < slot:
            raise Unserved("no server has this slot")
        return self.slots[found].server


def read_slots(answer: Sequence[Any], asked: Address) -> Topology:
    """The topology that an answer to ``CLUSTER SLOTS`` means.

    Args:
        answer: as it came: ``[first, last, [host, port, ...], ...]`` for each run of slots.
        asked: who answered; a server that does not know how others call it names no host.

    Raises:
        Unserved: the answer has another form.
    """
    try:
        runs = [
            Slots(int(first), int(last), Address((master[0] or b"").decode() or asked.host, int(master[1])))
            for first, last, master, *_replicas in answer
        ]
    except (ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise Unserved("this is no map of slots") from error
    return Topology(tuple(sorted(runs)))


def told_most(told: Sequence[Topology]) -> Topology:
    """What most say. One that was cut off tells of old times, and no other agrees with it.

    Raises:
        Unserved: nobody says anything, or as many say this as that.
    """
    ranked = Counter(told).most_common(2)
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        raise Unserved("nobody can tell which servers are in charge")
    return ranked[0][0]
