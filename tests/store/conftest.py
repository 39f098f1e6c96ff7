"""A store on each server, and a plain client that sees what lies there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

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


@pytest.fixture
async def forgetful_store(store_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """A store behind a connection that breaks once, after a script ran and before its answer.

    The parameter, if there is one, is the command that takes the place of the script.
    """
    command: bytes = getattr(request, "param", b"EVALSHA")
    broken = False
    server_path = urlsplit(store_url).path

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal broken
        up_reader, up_writer = await asyncio.open_unix_connection(server_path)
        try:
            while asked := await reader.read(65536):
                up_writer.write(asked)
                answer = await up_reader.read(65536)
                if command in asked and not answer.startswith(b"-") and not broken:
                    broken = True
                    return
                writer.write(answer)
        finally:
            for one in (writer, up_writer):
                one.close()
                await one.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    opened = Store.at(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    yield opened
    await opened.aclose()
    server.close()
    await server.wait_closed()
    assert broken
