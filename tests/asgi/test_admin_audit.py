"""The audit log over the API: who, from where and why; and no change without its entry."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from redis.asyncio import Redis

from asgi.adminapi import create, kept, pointers, refusal
from asgi.adminchanges import CHANGES, Change, things_to_change
from scopegate.core.audit import START, Verification
from scopegate.enforcer import utc_now

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane

REASON = "X-Scopegate-Reason"


async def entries(api: httpx.AsyncClient, **params: Any) -> list[dict[str, Any]]:
    answer = await api.get("/audit", params=params)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_an_entry_says_who_from_where_and_why(plane: ControlPlane, api: httpx.AsyncClient) -> None:
    eva = await plane.signed_in("key_administrator", email="eva@example.com")
    body = {"type": "external", "description": "d"}
    why = "Für Frau Huber, Ticket 7"
    key = (await eva.post("/keys", json=body, headers={REASON: quote(why)})).json()
    await api.post(f"/keys/{key['id']}:disable")
    local, remote = await entries(api)
    assert (remote["actor"], remote["origin"], remote["reason"]) == (
        "eva@example.com",
        "api 192.0.2.7",
        why,
    )
    assert (local["actor"], local["origin"], local["reason"]) == ("cli:eva@ops", "cli", None)
    assert (remote["action"], remote["target"]) == ("key.create", {"kind": "key", "id": key["id"]})
    assert local["changed"] == {"enabled": {"before": True, "after": False}}


@pytest.mark.parametrize("reason", ["x" * 501, "a%0Ab", "%00", "a%E2%80%AEb"])
async def test_a_reason_is_one_line(api: httpx.AsyncClient, reason: str) -> None:
    body = {"type": "external", "description": "d"}
    answer = await api.post("/keys", json=body, headers={REASON: reason})
    assert refusal(answer) == (400, "reason_invalid")
    assert pointers(answer) == [f"header:{REASON}"]
    assert (await api.get("/quota")).json()["used"] == 0


async def test_entries_are_found_by_key_actor_and_time(plane: ControlPlane, api: httpx.AsyncClient) -> None:
    eva = await plane.signed_in("key_administrator", email="eva@example.com")
    first, second = await create(api), await create(eva)
    await api.post(f"/keys/{first['id']}:disable")
    assert [one["action"] for one in await entries(api, key=first["id"])] == ["key.disable", "key.create"]
    assert [one["target"]["id"] for one in await entries(api, actor="eva@example.com")] == [second["id"]]
    later = f"{utc_now() + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    assert await entries(api, since=later) == []
    assert len(await entries(api, since="2020-01-01T00:00:00Z")) == 3
    assert refusal(await api.get("/audit", params={"since": "2020-01-01"}))[0] == 400


async def test_pages_put_together_are_the_log(api: httpx.AsyncClient) -> None:
    for _ in range(5):
        await create(api)
    found: list[int] = []
    params: dict[str, Any] = {"limit": 2}
    while True:
        said = (await api.get("/audit", params=params)).json()
        found += [one["sequence"] for one in said["items"]]
        if not said["has_more"]:
            break
        params["cursor"] = said["next_cursor"]
    assert found == [5, 4, 3, 2, 1]
    assert said["next_cursor"] is None


async def test_what_is_exported_can_be_verified_by_itself(api: httpx.AsyncClient) -> None:
    for _ in range(3):
        await create(api)
    answer = await api.get("/audit/export")
    assert answer.headers["content-type"].startswith("application/jsonl")
    lines = answer.content.splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == [1, 2, 3]
    verification = Verification(START)
    assert all(verification.follow(line) for line in lines)
    assert not Verification(START).follow(lines[1])


async def test_a_log_that_was_tampered_with_is_told(store_url: str, api: httpx.AsyncClient) -> None:
    for _ in range(3):
        await create(api)
    whole = (await api.get("/audit/verification")).json()
    assert (whole["whole"], whole["entries"], whole["broken_at"]) == (True, 3, None)
    async with Redis.from_url(store_url) as client:
        [line] = await client.lrange("sg:{000}:audit", 1, 1)
        assert isinstance(line, bytes)
        await client.lset("sg:{000}:audit", 1, line.decode().replace("cli:eva@ops", "cli:tom@ops"))
    broken = (await api.get("/audit/verification")).json()
    assert (broken["whole"], broken["broken_at"]) == (False, 2)
    assert broken["what"]


async def test_the_systems_log_has_tenants_administrators_and_tokens(
    plane: ControlPlane, api: httpx.AsyncClient
) -> None:
    await api.post("/tenants", json={"id": "acme"})
    eva = await plane.signed_in("key_administrator")
    actions = [one["action"] for one in reversed(await entries(api, system="true"))]
    assert actions == ["tenant.create", "administrator.create", "token.create"]
    assert await entries(api) == []
    assert (await api.get("/audit/verification?system=true")).json()["entries"] == 3
    assert len((await api.get("/audit/export?system=true")).content.splitlines()) == 3
    assert refusal(await eva.get("/audit?system=true")) == (403, "forbidden")


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_a_change_that_cannot_be_entered_is_not_made(
    store_url: str, api: httpx.AsyncClient, change: Change
) -> None:
    ids = await things_to_change(api)
    async with Redis.from_url(store_url) as client:
        for tag in ("000", "system"):
            await client.set(f"sg:{{{tag}}}:audit", "no list")
    before = await kept(store_url)
    answer = await change.send(api, ids)
    if change.path in {"/keys:bulk", "/keys:import"}:
        assert {one["problem"]["status"] for one in answer.json()["items"]} == {503}
    else:
        assert refusal(answer)[0] == 503
        assert answer.headers["Retry-After"] == "1"
    assert await kept(store_url) == before
