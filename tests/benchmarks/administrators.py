"""Administrators who all call the API at once, each again as soon as it has the answer.

    python administrators.py PORT COUNT

The first line of its standard input is a JSON object with ``token``, ``full`` (a tenant with many keys),
``key`` (one of them) and ``tenants`` (in which keys are created and deleted). It goes on until its standard
input ends, and then writes how many answers of each status it got, as JSON. It gives way to all others.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import sys
from collections import Counter
from dataclasses import dataclass, field

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_ID = re.compile(rb'"id": ?"(\w+)"')
_CREATION = json.dumps({"type": "external", "description": "made by a benchmark"})
_WEIGHTS = {"list": 4, "show": 4, "create": 4, "audit": 2, "openapi": 1}
NICENESS = 10


@dataclass(frozen=True)
class _Mix:
    """What is asked for, and what came of it."""

    port: int
    token: str
    full: str
    key: str
    tenants: list[str]
    answered: Counter[int] = field(default_factory=Counter)

    async def go_on(self, number: int) -> None:
        chance = random.Random(number)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        while True:
            tenant = chance.choice(self.tenants)
            match chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]:
                case "list":
                    await self._ask(reader, writer, "GET", f"/keys?tenant={self.full}")
                case "show":
                    await self._ask(reader, writer, "GET", f"/keys/{self.key}?tenant={self.full}")
                case "create":
                    made = await self._ask(reader, writer, "POST", f"/keys?tenant={tenant}", _CREATION)
                    if found := _ID.search(made):
                        path = f"/keys/{found[1].decode()}?tenant={tenant}"
                        await self._ask(reader, writer, "DELETE", path)
                case "audit":
                    await self._ask(reader, writer, "GET", f"/audit?tenant={tenant}")
                case _:
                    await self._ask(reader, writer, "GET", "/openapi.json")

    async def _ask(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        method: str,
        path: str,
        body: str = "",
    ) -> bytes:
        writer.write(
            f"{method} /admin/v1{path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        content = b"" if length is None else await reader.readexactly(int(length[1]))
        self.answered[int(head[9:12])] += 1
        return content


async def _administer(port: int, count: int) -> Counter[int]:
    mix = _Mix(port, **json.loads(sys.stdin.buffer.readline()))
    others = [asyncio.create_task(mix.go_on(number)) for number in range(count)]
    loop = asyncio.get_running_loop()
    print("ready", file=sys.stderr, flush=True)
    over = loop.run_in_executor(None, sys.stdin.buffer.read)
    done, _ = await asyncio.wait([over, *others], return_when=asyncio.FIRST_COMPLETED)
    for one in done:
        one.result()  # whoever lost its connection ends it all
    return mix.answered.copy()


def main() -> None:
    os.nice(NICENESS)
    answered = uvloop.run(_administer(int(sys.argv[1]), int(sys.argv[2])))
    json.dump(answered, sys.stdout)


if __name__ == "__main__":
    main()
