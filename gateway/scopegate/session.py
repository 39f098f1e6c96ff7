"""The store as the running event loop sees it: connections, live view, embedded server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scopegate.admissions import Admissions
from scopegate.core.errors import ConfigurationError
from scopegate.metrics import PrivilegeMetrics, StoreMetrics
from scopegate.privileges.sourced import SourcedAccess
from scopegate.store import Store
from scopegate.store.canary import CANARY_INTERVAL, MAX_LAG
from scopegate.store.embedded import EmbeddedStore
from scopegate.store.liveaccess import MAX_STALENESS, LiveAccess
from scopegate.usage import USAGE_INTERVAL, UsageRecorder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scopegate.core.decision import Decision
    from scopegate.enforcer import AccessSource
    from scopegate.privileges.source import SourceOptions
    from scopegate.store.clock import ClockWatch
    from scopegate.store.location import Location


class StoreSession:
    """Opens the store for an event loop, and for another one if the loop changes.

    Args:
        redis: where the keys are, as a location, or as a URL that says all about it.
        data_dir: instead of `redis`, the data directory of an embedded store.
        max_staleness: as `LiveAccess` has it, in seconds; 0 reads Redis for every request.
        canary_interval: the seconds between two measurements of how late changes are known; 0 makes none.
        max_lag: the seconds within which a change has to be known, else the connection is not trusted.
        usage_interval: the seconds between two writes of what keys were used for; 0 counts nothing.
        metrics: where all of that is counted.
        privileges: which source says what users may do; None: the directory.
        privilege_metrics: where questions to it are counted.

    ``count_use`` is told each decision, with the digest of the secret that was presented.

    Raises:
        ConfigurationError: neither or both of `redis` and `data_dir`, one that cannot be used, or
            seconds that make no sense.
    """

    def __init__(
        self,
        *,
        redis: Location | str | None = None,
        data_dir: Path | None = None,
        max_staleness: float = MAX_STALENESS,
        canary_interval: float = CANARY_INTERVAL,
        max_lag: float = MAX_LAG,
        usage_interval: float = USAGE_INTERVAL,
        metrics: StoreMetrics | None = None,
        privileges: SourceOptions | None = None,
        privilege_metrics: PrivilegeMetrics | None = None,
    ) -> None:
        if redis is not None and data_dir is None:
            self._embedded = None
            self._where = redis
        elif data_dir is not None and redis is None:
            self._embedded = EmbeddedStore(data_dir)
            self._where = self._embedded.url
        else:
            raise ConfigurationError(
                "redis_url",
                "It has to be said where the keys are.",
                hint="Give redis_url='redis://...' or data_dir=Path(...), one of them.",
            )
        if max_staleness < 0:
            raise ConfigurationError("max_staleness", "It is a number of seconds, 0 or more.")
        if canary_interval < 0:
            raise ConfigurationError("canary_interval", "It is a number of seconds, 0 or more.")
        if max_lag <= 0:
            raise ConfigurationError("max_lag", "It is a number of seconds, more than 0.")
        self._max_staleness = max_staleness
        self._canary_interval = canary_interval
        self._max_lag = max_lag
        self._metrics = metrics or StoreMetrics.apart()
        self._usage: UsageRecorder | None = None
        self.count_use: Callable[[Decision, str], None] = _not_counted
        if usage_interval:
            self._usage = UsageRecorder(interval=usage_interval, metrics=self._metrics)
            self.count_use = self._usage.record
        self._privileges = privileges
        self._privilege_metrics = privilege_metrics or PrivilegeMetrics.apart()
        self._store = Store.at(self._where)
        self._sourced: SourcedAccess | None = None
        self._live: LiveAccess | None = None
        self._admissions: Admissions | None = None
        self._clock: ClockWatch | None = None
        self._bound_to: asyncio.AbstractEventLoop | None = None
        self._opened_for: asyncio.AbstractEventLoop | None = None
        self.access: AccessSource = self._store.access

    @property
    def admissions(self) -> Admissions:
        """What was let in in the running loop, while it goes on."""
        if self._admissions is None:
            raise RuntimeError("no loop has opened the store")
        return self._admissions

    @property
    def changes(self) -> int:
        """How many changes were told in the running loop."""
        return 0 if self._admissions is None else self._admissions.changes

    def is_open(self) -> bool:
        """Whether ``access`` is what the running loop should use."""
        return self._opened_for is asyncio.get_running_loop()

    async def open(self) -> None:
        """Connect for the running loop, and listen for changes as long as it runs.

        Raises:
            ConfigurationError: the data directory of the embedded store cannot be used.
            StoreUnavailable: the embedded store does not start. A Redis that is not there yet is
                no error: until it is, nobody can tell, and requests are refused.
        """
        if self._embedded is not None:
            await asyncio.to_thread(self._embedded.start)
        self._bind()
        self._listen()

    async def open_for_request(self) -> None:
        """As `open`, for an application that was given no lifespan.

        A loop's first request reads Redis and starts nothing that somebody would have to stop, for
        test clients run each request in a loop of its own. From the second on it is as after `open`.
        """
        if self._bound_to is asyncio.get_running_loop():
            self._listen()
            return
        if self._embedded is not None:
            await asyncio.to_thread(self._embedded.start)
        if self._bound_to is not asyncio.get_running_loop():  # another request may have been faster
            self._bind()

    async def aclose(self) -> None:
        """Close the connections, and stop the store if it is embedded here."""
        self._bound_to = self._opened_for = None
        sourced, self._sourced = self._sourced, None
        if sourced is not None:
            await sourced.aclose()
        live, self._live = self._live, None
        if live is not None:
            await live.stop()
        admissions, self._admissions = self._admissions, None
        if admissions is not None:
            admissions.close()
        clock, self._clock = self._clock, None
        if clock is not None:
            clock.stop()
        if self._usage is not None:
            await self._usage.stop()
        await self._store.aclose()
        if self._embedded is not None:
            await asyncio.to_thread(self._embedded.stop)

    def _bind(self) -> None:
        # Connections of another loop would be of no use, nor would its live view.
        self._store = Store.at(self._where)
        self._live = None
        self._clock = None
        self.access = self._store.access
        if self._privileges is not None:
            source = self._privileges.open(self._privilege_metrics)
            self.access = self._sourced = SourcedAccess(self._store.member_access(), source)
        self._admissions = Admissions(patience=self._max_staleness)
        self._bound_to = asyncio.get_running_loop()

    def _listen(self) -> None:
        if self._clock is None:
            self._clock = self._store.clock_watch(self._metrics)
            self._clock.start()
        if self._live is None:
            self._live = self._store.live_access(
                of=None if self._sourced is None else self._store.member_access(),
                max_staleness=self._max_staleness,
                canary_interval=self._canary_interval,
                max_lag=self._max_lag,
                metrics=self._metrics,
                observer=self._admissions,
            )
            self._live.start()
            self.access = self._live
            if self._sourced is not None and self._admissions is not None:
                self._sourced.ask_of(self._live)
                self._sourced.start(self._admissions, self._admissions.users_in_use)
                self.access = self._sourced
            if self._usage is not None:
                self._usage.start(self._store.usage_writer)
        self._opened_for = self._bound_to


def _not_counted(_decision: Decision, _digest: str) -> None:
    pass
