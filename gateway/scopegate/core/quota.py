"""How many keys a tenant has of those that it may have (D2), and what they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scopegate.core.keys import KeyRecord, KeyState, KeyType, state

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Quota:
    """How many keys count, by what they are.

    ``used`` counts places: a record that was lost keeps its place, so the parts may be fewer.
    ``reclaimable`` of them have expired, and can be deleted now. ``never_expiring`` have no expiry.
    """

    limit: int
    used: int
    by_type: Mapping[KeyType, int]
    by_state: Mapping[KeyState, int]
    never_expiring: int

    @property
    def reclaimable(self) -> int:
        """How many keys have expired and only wait for their deletion."""
        return self.by_state[KeyState.EXPIRED]

    @property
    def left(self) -> int:
        """How many keys can still be created."""
        return max(0, self.limit - self.used)

    @property
    def sentence(self) -> str:
        """The quota in words."""
        parts = [f"{count} {name}" for name, count in self.by_state.items() if count]
        said = f"This tenant has {self.used} of {self.limit} keys"
        if not parts:
            return f"{said}."
        reclaimable = f" ({self.reclaimable} can be deleted now)" if self.reclaimable else ""
        return f"{said}: {', '.join(parts)}{reclaimable}."


def quota_of(records: Iterable[KeyRecord], now: datetime, *, limit: int, used: int) -> Quota:
    """The quota of a tenant whose keys that count at `now` are `records`."""
    found = list(records)
    types = Counter(record.type for record in found)
    states = Counter(state(record, now) for record in found)
    return Quota(
        limit=limit,
        used=used,
        by_type={kind: types[kind] for kind in KeyType},
        by_state={kind: states[kind] for kind in KeyState if kind is not KeyState.DELETED},
        never_expiring=sum(record.expires_at is None for record in found),
    )
