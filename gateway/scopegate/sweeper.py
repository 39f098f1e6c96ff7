"""Sweeps all tenants every few seconds, beside whatever else a process does."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from scopegate.core.errors import StoreUnavailable
from scopegate.enforcer import utc_now
from scopegate.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from scopegate.core.tenants import Tenant
    from scopegate.store import Store

log = logging.getLogger("scopegate")

INTERVAL = 5.0  # seconds from the end of a sweep to the next one


class Sweeper:
    """Enters the expiries and the deletions of keys, of all tenants, as they become due.

    Nothing depends on it but the entries: gateways refuse a key from its expiry on by themselves.

    Args:
        store: where the tenants are; it is closed in the end.
        interval: the seconds from the end of a sweep to the next one.
        clock: tells the present moment.
    """

    def __init__(
        self,
        store: Store,
        *,
        interval: float = INTERVAL,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._interval = interval
        self._clock = clock
        self._stores: dict[Tenant, Store] = {}
        self._throttle = Throttle()

    async def run(self) -> None:
        """Sweep until cancelled. What fails is said now and then, and tried again with the next sweep."""
        running = asyncio.current_task()
        try:
            while running is not None and not running.cancelling():  # the client may swallow a cancellation
                await self.sweep()
                await asyncio.sleep(self._interval)
        finally:
            with suppress(StoreUnavailable):
                await self._store.aclose()

    async def sweep(self) -> None:
        """Sweep each tenant once; one that cannot be swept keeps none of the others waiting."""
        try:
            tenants = await self._store.system.tenants.all()
        except StoreUnavailable as error:
            self._tell(error)
            return
        for tenant in tenants:
            store = self._stores.get(tenant)
            if store is None:
                store = self._stores[tenant] = self._store.of(tenant)
            try:
                await store.sweep(self._clock())
            except StoreUnavailable as error:
                self._tell(error)

    def _tell(self, error: StoreUnavailable) -> None:
        if self._throttle.due(error.message) is not None:
            log.warning("expiries and deletions of keys cannot be entered: %s", error.message)
