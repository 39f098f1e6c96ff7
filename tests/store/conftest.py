"""A store on each server, and a plain client that sees what lies there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis

from scopegate.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = Store.at(store_url)
    yield opened
    await opened.aclose()


@pytest.fixture
def raw(store_url: str) -> Iterator[Any]:
    """A client of the same server that knows nothing of Scopegate."""
    with redis.Redis.from_url(store_url) as client:
        yield client
