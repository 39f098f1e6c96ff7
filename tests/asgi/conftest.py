"""The administration API for the tests of what it promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asgi.adminapi import ControlPlane, control_plane

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx


@pytest.fixture
async def plane(store_url: str) -> AsyncIterator[ControlPlane]:
    """The API over an empty store."""
    async with control_plane(store_url) as plane:
        yield plane


@pytest.fixture
async def api(plane: ControlPlane) -> httpx.AsyncClient:
    """A client of it that may do everything."""
    return await plane.local()
