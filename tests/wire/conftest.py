"""A gateway between two raw sockets: its server, and its upstream, which the tests play themselves."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scopegate.commands import Commands
from scopegate.core.keys import KeyType
from scopegate.store import Store
from scopegate.store.embedded import EmbeddedStore
from wire.frames import echo_server
from wire.servers import KEY, Server, Servers
from wire.wires import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def _listening() -> Iterator[Upstream]:
    with closing(Upstream()) as upstream:
        yield upstream


@pytest.fixture(scope="session")
def echo_port() -> Iterator[int]:
    """Where a WebSocket server listens that returns each message; the gateway has it at /echo."""
    with echo_server() as port:
        yield port


@pytest.fixture(scope="session")
def servers(_listening: Upstream, echo_port: int) -> Iterator[Servers]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sg-")))
        redis_url = stack.enter_context(EmbeddedStore(folder / "store")).url
        asyncio.run(create_key(redis_url))
        echo = f"http://127.0.0.1:{echo_port}"
        yield Servers(stack, upstream=_listening.url, echo=echo, redis_url=redis_url)


@pytest.fixture(params=["own", "granian", "uvicorn"])
def server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    """Each of the servers, or those that the test names."""
    return servers.find(request.param)


@pytest.fixture
def upstream(_listening: Upstream) -> Iterator[Upstream]:
    """The upstream of whichever server; in the end it has no connections."""
    yield _listening
    _listening.forget()


async def create_key(redis_url: str) -> None:
    """The key of `request`."""
    store = Store.at(redis_url)
    try:
        commands = Commands(store, choose=lambda _alphabet: "w")
        created = await commands.create_key(key_type=KeyType.EXTERNAL, description="Opens everything")
        assert created.new_secret.encode() == KEY
    finally:
        await store.aclose()
