"""`dry_run`: everything is checked and answered, and nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi.adminapi import create, kept, refusal
from asgi.adminchanges import CHANGES, LOOKING, Change, things_to_change

if TYPE_CHECKING:
    import httpx


@pytest.fixture
async def ids(api: httpx.AsyncClient) -> dict[str, str]:
    return await things_to_change(api)


async def test_every_operation_that_changes_something_is_tried_here(api: httpx.AsyncClient) -> None:
    described: dict[str, Any] = (await api.get("/openapi.json")).json()["paths"]
    changing = {
        f"{method.upper()} {path.removeprefix('/admin/v1')}"
        for path, operations in described.items()
        for method in operations
        if method != "get" and path not in LOOKING
    }
    assert changing == CHANGES.keys()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_nothing_is_changed(
    store_url: str, api: httpx.AsyncClient, ids: dict[str, str], change: Change
) -> None:
    before = await kept(store_url)
    tried = await change.send(api, ids, dry_run="true")
    assert tried.is_success, tried.text
    assert await kept(store_url) == before
    if tried.content:
        assert tried.json().get("secret") is None
    done = await change.send(api, ids)
    assert done.status_code == tried.status_code
    assert await kept(store_url) != before


async def test_what_would_be_refused_is_refused(store_url: str, api: httpx.AsyncClient) -> None:
    before = await kept(store_url)
    dry = {"dry_run": "true"}
    for body, code in (
        ({"type": "external", "description": " "}, (422, "description_required")),
        (
            {"type": "custom", "description": "d", "rules": [{"method": "GET", "url": "/x"}]},
            (403, "feature_disabled"),
        ),
    ):
        assert refusal(await api.post("/keys", json=body, params=dry)) == code
    assert refusal(await api.delete("/keys/000000000000", params=dry)) == (404, "not_found")
    assert await kept(store_url) == before


async def test_the_answer_says_that_no_secret_was_made(api: httpx.AsyncClient) -> None:
    tried = await api.post("/keys", json={"type": "external", "description": "d"}, params={"dry_run": "true"})
    said = tried.json()
    assert (tried.status_code, said["secret"], said["secret_status"]) == (201, None, "not_made")
    assert refusal(await api.get(f"/keys/{said['id']}")) == (404, "not_found")


async def test_a_dry_run_takes_no_idempotency_key(api: httpx.AsyncClient) -> None:
    once = {"Idempotency-Key": "one"}
    body = {"type": "external", "description": "d"}
    await api.post("/keys", json=body, headers=once, params={"dry_run": "true"})
    assert (await api.post("/keys", json=body, headers=once)).json()["secret_status"] == "shown"


async def test_an_import_is_tried_within_what_is_left(api: httpx.AsyncClient) -> None:
    await api.patch("/tenants/default/settings", json={"key_limit": 2})
    await create(api)
    body = {"keys": [{"type": "desktop", "description": f"{number}"} for number in range(3)]}
    tried = (await api.post("/keys:import", json=body, params={"dry_run": "true"})).json()
    assert [one["ok"] for one in tried["items"]] == [True, False, False]
    assert tried["items"][1]["problem"]["code"] == "key_limit_reached"
    assert (await api.get("/quota")).json()["used"] == 1
