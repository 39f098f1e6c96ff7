"""The administration API over a real store, called in this process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from scopegate.admin.local import local_api
from scopegate.admin.visit import Office
from scopegate.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BASE = "http://admin.test/admin/v1"


@asynccontextmanager
async def local_client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API over the store at `url`, in the name of ``cli:eva@ops``."""
    store = Store.at(url)
    office = Office(store, key_prefix="sg", pepper=None)
    transport = httpx.ASGITransport(local_api(office, actor="cli:eva@ops", origin="cli"))
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        yield client
    await store.aclose()
