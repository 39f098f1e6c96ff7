"""One running instance for the commands of a module, which reach it through its store, or over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e.gateways import serving
from e2e.processes import Finished, scopegate
from scopegate import policyfiles
from scopegate.client import Client, schemas
from scopegate.commands import Commands
from scopegate.demo.scenario import USERS
from scopegate.store import Store
from scopegate.store.embedded import EmbeddedStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from e2e.gateways import Gateway

POLICIES = Path(__file__).parents[2] / "policies"


@dataclass(frozen=True)
class Instance:
    """An instance that runs, and how commands get there: ``place`` are options, ``env`` variables."""

    data_dir: Path
    url: str
    place: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)

    def run(self, *args: str | Path, stdin: str = "", env: Mapping[str, str] | None = None) -> Finished:
        """Run a command on this instance."""
        return scopegate(*args, *self.place, stdin=stdin, env={**self.env, **(env or {})})

    def run_all(self, *commands: tuple[str | Path, ...]) -> list[Finished]:
        """Run commands that do not depend on each other, side by side."""
        with ThreadPoolExecutor(len(commands)) as pool:
            return list(pool.map(lambda command: self.run(*command), commands))

    def data(self, *args: str | Path) -> Any:
        """What a command that succeeds answers with ``-o json``."""
        finished = self.run(*args, "-o", "json")
        assert finished.code == 0, finished
        return json.loads(finished.out)

    def shown(self, key_id: str) -> Any:
        """What ``key show`` tells of a key, without what is known of its use, and its version."""
        told = self.data("key", "show", key_id)
        return {name: told[name] for name in told if name not in {"last_used", "secrets", "etag"}}

    def create(self, *args: str, description: str = "A key of the tests") -> Any:
        """What the creation of an external key, or of one of another type, answers."""
        kind = () if "--type" in args else ("--type", "external")
        return self.data("key", "create", *kind, "--description", description, *args)


@pytest.fixture(scope="module")
def local(short_dir: Path, request: pytest.FixtureRequest) -> Iterator[Instance]:
    """A store with the repository's policies, the demo's users, Scoped API on and no keys."""
    data_dir = short_dir / request.module.__name__.rpartition(".")[2]
    with EmbeddedStore(data_dir) as embedded:
        asyncio.run(_fill(embedded.url))
        yield Instance(data_dir, embedded.url, ("--data-dir", str(data_dir)))


@pytest.fixture(scope="module")
def remote(short_dir: Path, request: pytest.FixtureRequest) -> Iterator[Instance]:
    """The same behind ``scopegate serve``, for an administrator with a token who has no other way in."""
    directory = short_dir / f"r-{request.module.__name__.rpartition('.')[2]}"
    with serving(directory, "http://127.0.0.1:9") as gateway:
        asyncio.run(_fill(gateway.store_url))
        env = {"SCOPEGATE_SERVER": gateway.admin_url, "SCOPEGATE_TOKEN": first_token(gateway)}
        yield Instance(directory / "data", gateway.store_url, (), env)


@pytest.fixture(scope="module")
def instance(local: Instance) -> Instance:
    """A local one; a module whose commands go both ways has a fixture of this name of its own."""
    return local


def first_token(gateway: Gateway) -> str:
    """The token of the first administrator, who is made with what the first start printed."""
    (printed,) = re.findall(r"adm_\w+", gateway.process.err)
    with Client(gateway.admin_url) as client:
        issued = client.bootstrap(schemas.Bootstrap(token=printed, name="Eva", email="eva@example.org"))
    assert issued.secret is not None
    return issued.secret


async def _fill(url: str) -> None:
    store = Store.at(url)
    try:
        commands = Commands(store)
        await commands.apply_policies(policyfiles.load(POLICIES).policies)
        await commands.put_users(list(USERS))
        await commands.set_scoped_api(on=True)
    finally:
        await store.aclose()
