"""The store follows the event loop, and the live view with it."""

from __future__ import annotations

import asyncio

from scopegate.session import StoreSession
from scopegate.store.liveaccess import LiveAccess


def test_every_loop_that_serves_more_than_one_request_has_a_live_view(valkey_url: str) -> None:
    session = StoreSession(redis=valkey_url)

    async def serve_two_requests_and_vanish() -> tuple[bool, bool]:
        await session.open_for_request()
        first = isinstance(session.access, LiveAccess)
        await session.open_for_request()
        second = isinstance(session.access, LiveAccess)
        # A loop that ends takes its tasks and connections along, without telling the session.
        if session._live is not None:
            await session._live.stop()
        await session._store.aclose()
        return first, second

    assert [asyncio.run(serve_two_requests_and_vanish()) for _ in range(2)] == [(False, True)] * 2


async def test_requests_that_come_together_open_one_store(valkey_url: str) -> None:
    session = StoreSession(redis=valkey_url)
    await asyncio.gather(*(session.open_for_request() for _ in range(5)))
    assert session.is_open()
    await session.aclose()
    assert not session.is_open()
