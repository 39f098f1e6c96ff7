"""What was let in and is not over: reviewed when what it was let in for changes, and ended if that is gone.

A request is judged once, but a download, an event stream or a WebSocket goes on for long. So whoever
lets a request in has it followed here, by the key that opened it and the user behind it, until it is
over. Whenever one of these changes, it is judged anew.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol, cast

from scopegate.core.keys import TENANT_TAG_LENGTH
from scopegate.enforcer import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from scopegate.core.keys import KeyRecord

log = logging.getLogger("scopegate")

_AT_ONCE = 16  # reviews under way; more would only wait for the store's connections
_RETRY = 0.1  # seconds until the store is asked again, if nobody could tell
_PATROL = 1.0  # seconds between two reviews of everything, while changes are not told
_LONGEST_TIMER = 15.0  # seconds; the clock on the wall may be set meanwhile


class Admitted(Protocol):
    """Something that was let in. What is hashed is its identity."""

    @property
    def running(self) -> bool:
        """Whether there is anything to end."""
        ...

    async def review(self, *, last: bool) -> bool:
        """Judge anew, and end what is no longer allowed; false if nobody can tell.

        `last`: end it also if nobody can tell.
        """
        ...


class _Key:
    """One key, its latest record, and what it has let in."""

    __slots__ = ("admitted", "id", "overlap_ended", "record", "timer")

    def __init__(self, key_id: str) -> None:
        self.id = key_id
        self.record: KeyRecord | None = None
        self.admitted: set[Admitted] = set()
        self.timer: asyncio.TimerHandle | None = None
        self.overlap_ended: datetime | None = None  # the end for which all was reviewed

    @property
    def user(self) -> tuple[str, str] | None:
        """The tenant's tag and the id of the user, if the key is bound to one."""
        if self.record is None or self.record.user is None:
            return None
        return self.id[:TENANT_TAG_LENGTH], self.record.user


class Admissions:
    """Follows what was let in, in one event loop.

    The store's live view tells what changes (it is a `store.liveaccess.Observer`). While it does not,
    everything is reviewed now and then.

    ``changes`` counts what was told: who judged while it changed has judged by facts that may have
    been overtaken, and says so with `doubt`.

    Args:
        patience: for how many seconds nobody may be able to tell before what was let in is ended.
        clock: tells the present moment.
    """

    def __init__(self, *, patience: float, clock: Callable[[], datetime] = utc_now) -> None:
        self._patience = patience
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._keys: dict[str, _Key] = {}
        self._keys_of_users: dict[tuple[str, str], set[_Key]] = {}
        self._key_of: dict[Admitted, _Key] = {}
        self._due: dict[Admitted, None] = {}
        self._under_review: set[Admitted] = set()
        self._again: set[Admitted] = set()
        self._doubtful_since: dict[Admitted, float] = {}
        self._reviewers: set[asyncio.Task[None]] = set()
        self._untold_since: float | None = self._loop.time()
        self._patrol: asyncio.TimerHandle | None = None
        self.changes = 0

    def follow(self, admitted: Admitted, record: KeyRecord) -> None:
        """`admitted` runs on this key from now on, until `forget`."""
        before = self._key_of.get(admitted)
        if before is not None and before.id != record.id:
            self.forget(admitted)
        key = self._keys.get(record.id)
        if key is None:
            key = self._keys[record.id] = _Key(record.id)
        key.admitted.add(admitted)
        self._key_of[admitted] = key
        if key.record is not record:
            self._remove_from_index(key)
            key.record = record
            self._index(key)
        if self._patrol is None:
            self._go_round_later()

    def users_in_use(self) -> list[tuple[str, str]]:
        """The users, each by the tenant's tag and the id, for whom something goes on now."""
        return [
            user
            for user, keys in self._keys_of_users.items()
            if any(admitted.running for key in keys for admitted in key.admitted)
        ]

    def forget(self, admitted: Admitted) -> None:
        """`admitted` is over."""
        key = self._key_of.pop(admitted, None)
        self._due.pop(admitted, None)
        self._again.discard(admitted)
        self._doubtful_since.pop(admitted, None)
        if key is None:
            return
        key.admitted.discard(admitted)
        if not key.admitted:
            del self._keys[key.id]
            self._remove_from_index(key)

    def doubt(self, admitted: Admitted) -> None:
        """Review `admitted`: what it was let in for may have changed before it was followed."""
        self._review((admitted,))

    def close(self) -> None:
        """Follow nothing any more."""
        for key in self._keys.values():
            if key.timer is not None:
                key.timer.cancel()
        if self._patrol is not None:
            self._patrol.cancel()
        for reviewer in self._reviewers:
            reviewer.cancel()
        self._keys.clear()
        self._keys_of_users.clear()
        self._key_of.clear()
        self._due.clear()

    # What the live view tells

    def key_changed(self, key_id: str) -> None:
        """The record of a key was written or deleted."""
        self.changes += 1
        key = self._keys.get(key_id)
        if key is not None:
            self._review(key.admitted)

    def user_changed(self, tenant_tag: str, user_id: str) -> None:
        """The record of a user was written or deleted."""
        self.changes += 1
        for key in self._keys_of_users.get((tenant_tag, user_id), ()):
            self._review(key.admitted)

    def policies_changed(self, tenant_tag: str) -> None:
        """What the users of a tenant may do has changed."""
        self.changes += 1
        for (tag, _), keys in self._keys_of_users.items():
            if tag == tenant_tag:
                for key in keys:
                    self._review(key.admitted)

    def everything_changed(self) -> None:
        """Anything may have changed."""
        self.changes += 1
        self._review(self._key_of)

    def told(self, *, from_now_on: bool, silent_for: float = 0.0) -> None:
        """Whether changes are told from now on. What was not told before may be anything.

        `silent_for` is for how many seconds nothing was heard, if they are not.
        """
        if not from_now_on:
            if self._untold_since is None:
                self._untold_since = self._loop.time() - silent_for
                self._review(self._key_of)
                self._go_round_later()
            return
        self._untold_since = None
        if self._patrol is not None:
            self._patrol.cancel()
            self._patrol = None
        self.everything_changed()

    # Steps

    def _go_round(self) -> None:
        self._patrol = None
        if self._untold_since is not None and self._key_of:
            self._review(self._key_of)
            self._go_round_later()

    def _go_round_later(self) -> None:
        """Review everything soon, or at the moment at which doubt is the end."""
        if self._untold_since is None:
            return
        left = self._untold_since + self._patience - self._loop.time()
        self._patrol = self._loop.call_later(left if 0 < left < _PATROL else _PATROL, self._go_round)

    def _index(self, key: _Key) -> None:
        if key.user is not None:
            self._keys_of_users.setdefault(key.user, set()).add(key)
        self._await_end(key)

    def _remove_from_index(self, key: _Key) -> None:
        if key.timer is not None:
            key.timer.cancel()
            key.timer = None
        if key.user is not None:
            keys = self._keys_of_users[key.user]
            keys.discard(key)
            if not keys:
                del self._keys_of_users[key.user]

    def _await_end(self, key: _Key) -> None:
        """Have what the key has let in reviewed when the key expires, and when its old secret is over."""
        key.timer = None
        if key.record is None:
            return
        now = self._clock()
        ends = []
        if key.record.expires_at is not None:
            ends.append(key.record.expires_at)
        retiring = key.record.retiring
        # Past it, the record stays as it is, and each new reading of it comes here: one review is enough.
        if retiring is not None and retiring.until != key.overlap_ended:
            ends.append(retiring.until)
            if retiring.until <= now:
                key.overlap_ended = retiring.until
        if any(end <= now for end in ends):
            self._review(key.admitted)
        later = [end for end in ends if end > now]
        if later:
            left = (min(later) - now).total_seconds()
            key.timer = self._loop.call_later(min(left, _LONGEST_TIMER), self._await_end, key)

    def _review(self, several: Iterable[Admitted]) -> None:
        """Have these judged anew, soon; one whose review is under way, after it once more."""
        for admitted in several:
            if admitted in self._under_review:
                self._again.add(admitted)
            elif admitted.running:
                self._due[admitted] = None
        for _ in range(min(len(self._due), _AT_ONCE - len(self._reviewers))):
            reviewer = self._loop.create_task(self._review_what_is_due())
            self._reviewers.add(reviewer)

    async def _review_what_is_due(self) -> None:
        try:
            while self._due:
                admitted = next(iter(self._due))
                del self._due[admitted]
                await self._review_one(admitted)
        finally:
            # Before anybody else runs: what becomes due from now on needs another reviewer.
            self._reviewers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _review_one(self, admitted: Admitted) -> None:
        self._under_review.add(admitted)
        try:
            certain = await admitted.review(last=self._is_out_of_patience(admitted))
        except Exception:
            log.exception("a review failed")
            certain = False
        finally:
            self._under_review.discard(admitted)
        if admitted not in self._key_of:
            return
        if certain:
            self._doubtful_since.pop(admitted, None)
        else:
            self._doubtful_since.setdefault(admitted, self._loop.time())
            self._loop.call_later(_RETRY, self._retry, admitted)
        if admitted in self._again:
            self._again.discard(admitted)
            self._due[admitted] = None

    def _is_out_of_patience(self, admitted: Admitted) -> bool:
        """Whether doubt is the end now. It is asked twice, so that what ends by itself in between may."""
        since = self._doubtful_since.get(admitted)
        if since is None:
            return False
        return self._loop.time() - min(since, self._untold_since or since) >= self._patience

    def _retry(self, admitted: Admitted) -> None:
        if admitted in self._key_of:
            self._review((admitted,))
