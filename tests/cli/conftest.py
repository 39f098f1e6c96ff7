"""One running store for the commands of a module: each of them only connects."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e.processes import Finished, scopegate
from scopegate import policyfiles
from scopegate.commands import Commands
from scopegate.demo.scenario import USERS
from scopegate.store import Store
from scopegate.store.embedded import EmbeddedStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

POLICIES = Path(__file__).parents[2] / "policies"


@dataclass(frozen=True)
class Instance:
    """A data directory whose store runs."""

    data_dir: Path
    url: str

    def run(self, *args: str | Path, stdin: str = "", env: Mapping[str, str] | None = None) -> Finished:
        """Run a command on this instance."""
        return scopegate(*args, "--data-dir", self.data_dir, stdin=stdin, env=env)

    def run_all(self, *commands: tuple[str | Path, ...]) -> list[Finished]:
        """Run commands that do not depend on each other, side by side."""
        with ThreadPoolExecutor(len(commands)) as pool:
            return list(pool.map(lambda command: self.run(*command), commands))

    def data(self, *args: str | Path) -> Any:
        """What a command that succeeds answers with ``-o json``."""
        finished = self.run(*args, "-o", "json")
        assert finished.code == 0, finished
        return json.loads(finished.out)

    def create(self, *args: str, description: str = "A key of the tests") -> Any:
        """What the creation of an external key, or of one of another type, answers."""
        kind = () if "--type" in args else ("--type", "external")
        return self.data("key", "create", *kind, "--description", description, *args)


@pytest.fixture(scope="module")
def instance(short_dir: Path, request: pytest.FixtureRequest) -> Iterator[Instance]:
    """A store with the repository's policies, the demo's users, Scoped API on and no keys."""
    data_dir = short_dir / request.module.__name__.rpartition(".")[2]
    with EmbeddedStore(data_dir) as embedded:
        asyncio.run(_fill(embedded.url))
        yield Instance(data_dir, embedded.url)


async def _fill(url: str) -> None:
    store = Store.at(url)
    try:
        commands = Commands(store)
        await commands.apply_policies(policyfiles.load(POLICIES).policies)
        await commands.put_users(list(USERS))
        await commands.set_scoped_api(on=True)
    finally:
        await store.aclose()
