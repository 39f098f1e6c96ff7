"""Administrators who ask for much do not keep others waiting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from asgi.adminapi import local_client
from scopegate.commands import Commands
from scopegate.core.catalogue import Endpoint
from scopegate.core.policies import Policies
from scopegate.core.principal import User
from scopegate.store import Store

if TYPE_CHECKING:
    import httpx

VIEW = frozenset({"recordings.view"})
ENDPOINTS = tuple(Endpoint(frozenset({"GET"}), f"/api/{number}/*", VIEW) for number in range(50))
USERS = 4_000
RULES = [{"method": "GET", "url": f"/api/{number % 50}/{number}/*"} for number in range(1_000)]
CUSTOM = {"type": "custom", "description": "much", "user": "kim", "rules": RULES}
EXPENSIVE: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "a draft of a thousand rules": ("POST", "/keys:preview", CUSTOM),
    "a key with a thousand rules": ("POST", "/keys?dry_run=true", CUSTOM),
    "a search over all users": ("GET", "/users?q=kim", None),
    "all of the audit log": ("GET", "/audit?actor=nobody", None),
}


async def furnish(url: str) -> None:
    store = Store.at(url)
    commands = Commands(store)
    await commands.apply_policies(Policies(endpoints=ENDPOINTS, roles={"agent": VIEW}))
    await commands.set_scoped_api(on=True)
    await commands.put_users([User(id="kim", name="Kim", roles=frozenset({"agent"}))])
    await commands.put_users([User(id=f"u{number}", name=f"User {number}") for number in range(USERS)])
    await store.aclose()


@pytest.mark.parametrize("what", EXPENSIVE)
async def test_others_are_answered_meanwhile(what: str, valkey_url: str) -> None:
    method, path, body = EXPENSIVE[what]
    await furnish(valkey_url)
    answered: list[str] = []

    async def ask(client: httpx.AsyncClient, name: str, *request: Any, **more: Any) -> None:
        answer = await client.request(*request, **more)
        assert answer.is_success, answer.text
        answered.append(name)

    async with local_client(valkey_url) as client, asyncio.TaskGroup() as group:
        group.create_task(ask(client, "much", method, path, json=body))
        for _ in range(3):
            await ask(client, "little", "GET", "/users/kim")
    assert answered[0] == "little"
