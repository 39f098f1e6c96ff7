"""Run as a program: changes all kinds of things as fast as it can, and says how many changes it made.

Arguments: the store's URL, the number of the first key, how many rounds, how many audit entries are kept.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

from scopegate.core.audit import Author
from scopegate.core.tenants import SCOPED_API
from scopegate.store import Store
from store.facts import NOW, key, names, user

CHANGES = 6  # that each round makes


async def change(url: str, first: int, rounds: int, retention: int) -> int:
    store = Store.at(url, author=Author(f"changer-{first}", "test"), audit_retention=retention)
    await store.require_reachable()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for number in range(first, first + rounds):
        record, person = key(number), user(f"u{number}")
        await asyncio.gather(store.keys.create(record, now=NOW, limit=10**6), store.users.add(person))
        await store.keys.change(record.id, lambda one: replace(one, enabled=False))
        await store.users.change(person.id, lambda one: replace(one, roles=names("agent")))
        # All processes turn the same flag and change the same user; not each of these is a change.
        await store.policies.set_flag(SCOPED_API, on=number % 2 == 0)
        await store.users.put([user("shared", organization=f"{number}")])
        await store.users.delete(person.id)
    await store.aclose()
    return rounds * CHANGES


if __name__ == "__main__":
    where, *numbers = sys.argv[1:]
    sys.stdout.write(f"{asyncio.run(change(where, *map(int, numbers)))}\n")
