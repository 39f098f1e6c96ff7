"""Run as a program: creates keys as fast as it can, and says how many it could create.

Arguments: the store's URL, the number of the first key, how many to try, what the limit is.
"""

from __future__ import annotations

import asyncio
import sys

from scopegate.core.errors import KeyLimitReached
from scopegate.store import Store
from store.facts import NOW, key


async def create(url: str, first: int, count: int, limit: int) -> int:
    store = Store.at(url)
    await store.require_reachable()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    answers = await asyncio.gather(
        *(store.keys.create(key(number), now=NOW, limit=limit) for number in range(first, first + count)),
        return_exceptions=True,
    )
    await store.aclose()
    refused = [answer for answer in answers if answer is not None]
    assert all(isinstance(one, KeyLimitReached) for one in refused), refused
    return len(answers) - len(refused)


if __name__ == "__main__":
    where, *numbers = sys.argv[1:]
    sys.stdout.write(f"{asyncio.run(create(where, *map(int, numbers)))}\n")
