"""Administrators who ask for much do not keep others waiting."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from asgi.adminapi import local_client
from scopegate.commands import Commands, previewing, tenant
from scopegate.core.audit import Selection
from scopegate.core.catalogue import Endpoint
from scopegate.core.policies import Policies
from scopegate.core.principal import User
from scopegate.core.userindex import IndexBuilder
from scopegate.store import Store, usersearch

VIEW = frozenset({"recordings.view"})
ENDPOINTS = tuple(Endpoint(frozenset({"GET"}), f"/api/{number}/*", VIEW) for number in range(50))
USERS = 4_000
DEADLINE = 60.0  # seconds
ANYHOW = {"If-Match": "*"}
RULES = [{"method": "GET", "url": f"/api/{number % 50}/{number}/*"} for number in range(1_000)]
BODY = {
    "endpoints": [
        {"methods": ["GET"], "url": f"/api/{number}/*", "privileges": ["a"]} for number in range(1_000)
    ],
    "roles": {},
    "groups": {},
}
CUSTOM = {"type": "custom", "description": "much", "user": "kim", "rules": RULES}
EXPENSIVE: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "a draft of a thousand rules": ("POST", "/keys:preview", CUSTOM),
    "a key with a thousand rules": ("POST", "/keys?dry_run=true", CUSTOM),
    "a search over all users": ("GET", "/users?q=kim", None),
    "policies of a thousand endpoints": ("PUT", "/policies?dry_run=true", BODY),
    "all of the audit log": ("GET", "/audit?actor=nobody", None),
}

# Where the work of each is done.
WORK: dict[str, tuple[object, str]] = {
    "a draft of a thousand rules": (previewing, "preview"),
    "a key with a thousand rules": (tenant, "gaps"),
    "a search over all users": (IndexBuilder, "add"),
    "policies of a thousand endpoints": (Policies, "catalogue"),
    "all of the audit log": (Selection, "admits"),
}


async def furnish(url: str) -> None:
    store = Store.at(url)
    commands = Commands(store)
    await commands.apply_policies(Policies(endpoints=ENDPOINTS, roles={"agent": VIEW}))
    await commands.set_scoped_api(on=True)
    await commands.put_users([User(id="kim", name="Kim", roles=frozenset({"agent"}))])
    await commands.put_users([User(id=f"u{number}", name=f"User {number}") for number in range(USERS)])
    await store.aclose()


class Progress:
    """How far an expensive request has come: it looks at one thing after the other, or, in a thread, at one.

    The latter does not end before `go_on`.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.go_on = threading.Event()

    def follow(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
        """Take a step where a call of `owner`'s function begins, and where it ends."""
        function = getattr(owner, name)

        def followed(*arguments: Any) -> Any:
            self.steps += 1
            if threading.current_thread() is not threading.main_thread():
                self.go_on.wait(DEADLINE)
            try:
                return function(*arguments)
            finally:
                self.steps += 1

        monkeypatch.setattr(owner, name, followed)


@pytest.mark.parametrize("what", EXPENSIVE)
async def test_others_are_answered_meanwhile(
    what: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, path, body = EXPENSIVE[what]
    await furnish(valkey_url)
    # So few people are taken in faster than another request is answered, unless it is in small pieces.
    monkeypatch.setattr(usersearch, "_AT_A_TIME", 10)
    progress = Progress()
    progress.follow(monkeypatch, *WORK[what])
    seen: list[int] = []
    async with local_client(valkey_url) as client, asyncio.timeout(DEADLINE):
        much = asyncio.create_task(client.request(method, path, json=body, headers=ANYHOW))
        while not much.done():
            assert (await client.get("/users/kim")).is_success
            seen.append(progress.steps)
            if progress.steps:
                progress.go_on.set()
        assert (await much).is_success
    assert any(0 < steps < progress.steps for steps in seen)
