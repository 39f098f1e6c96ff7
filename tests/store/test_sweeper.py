"""All tenants are swept, and what is in the way of one is not in the way of others."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.core.audit import parse
from scopegate.core.tenants import DEFAULT_TENANT, Tenant
from scopegate.store import Store, layout
from scopegate.sweeper import Sweeper
from store.facts import NOW, TAG, WEEK, key, key_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ACME = Tenant("acme", "0a2", "Acme", NOW)
TENANTS = (DEFAULT_TENANT, ACME)
DEADLINE = 20.0  # seconds


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    """Two tenants, each with a key that has expired."""
    opened = Store.at(store_url)
    await opened.system.tenants.create(lambda _taken: ACME)
    for tenant in TENANTS:
        record = key(id=key_id(1, tenant.tag), tenant=tenant.id, expires_at=NOW)
        await opened.of(tenant).keys.create(record, now=NOW - WEEK)
    yield opened
    await opened.aclose()


async def actions(store: Store, tenant: Tenant) -> list[str]:
    return [parse(line)["action"] async for line in store.of(tenant).audit.forwards()]


async def test_every_tenant_is_swept(store: Store) -> None:
    await Sweeper(store, clock=lambda: NOW).sweep()
    for tenant in TENANTS:
        assert await actions(store, tenant) == ["key.create", "key.expire"]


async def test_a_tenant_that_cannot_be_swept_is_told_and_the_others_are_swept(
    store: Store, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    raw.set(layout.audit_bounds(TAG), "x")
    sweeper = Sweeper(store, clock=lambda: NOW)
    for _ in range(2):
        await sweeper.sweep()
    assert await actions(store, ACME) == ["key.create", "key.expire"]
    [told] = caplog.messages
    assert "cannot be entered" in told


async def test_a_store_that_is_away_is_told_and_asked_again(
    free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    running = asyncio.create_task(Sweeper(Store.at(f"redis://127.0.0.1:{free_port}"), interval=0.0).run())
    async with asyncio.timeout(DEADLINE):
        while not caplog.messages:  # noqa: ASYNC110 -- a log tells nobody
            await asyncio.sleep(0)
    assert not running.done()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(running, DEADLINE)


async def test_it_sweeps_until_it_is_cancelled(store: Store, store_url: str) -> None:
    moments = iter([NOW, NOW, NOW + WEEK, NOW + WEEK])
    running = asyncio.create_task(
        Sweeper(Store.at(store_url), interval=0.0, clock=lambda: next(moments, NOW + WEEK)).run()
    )
    async with asyncio.timeout(DEADLINE):  # of the real clock
        while "key.delete" not in await actions(store, ACME):
            pass
    running.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(running, DEADLINE)
    assert await actions(store, ACME) == ["key.create", "key.expire", "key.delete"]
