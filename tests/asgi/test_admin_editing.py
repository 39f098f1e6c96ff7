"""`If-Match`: no administrator undoes unseen what another one did."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from asgi.adminapi import create, create_custom, pointers, refusal

if TYPE_CHECKING:
    import httpx

RULES = {"rules": [{"method": "GET", "url": "/api/reports/*"}]}
MALFORMED = ('W/"abc"', "abc", '"a", "b"', '""x', '"', "")


async def test_a_change_of_values_needs_the_version_that_is_meant(api: httpx.AsyncClient) -> None:
    key = await create_custom(api, "/api/recordings/*")
    url = f"/keys/{key['id']}"
    for answer in (
        await api.patch(url, json={"description": "new"}),
        await api.put(f"{url}/rules", json=RULES),
    ):
        assert refusal(answer) == (428, "if_match_required")
    assert (await api.get(url)).json()["description"] == "A key"


async def test_every_answer_with_a_key_tells_its_version(api: httpx.AsyncClient) -> None:
    made = await api.post("/keys", json={"type": "external", "description": "d"})
    url = f"/keys/{made.json()['id']}"
    shown = await api.get(url)
    assert shown.headers["ETag"] == made.headers["ETag"]
    patched = await api.patch(url, json={"description": "e"}, headers={"If-Match": shown.headers["ETag"]})
    assert patched.status_code == 200
    assert patched.headers["ETag"] not in {"", shown.headers["ETag"]}
    assert (await api.get(url)).headers["ETag"] == patched.headers["ETag"]


async def test_a_version_that_is_gone_changes_nothing(api: httpx.AsyncClient) -> None:
    key = await create_custom(api, "/api/recordings/*")
    url = f"/keys/{key['id']}"
    old = {"If-Match": (await api.get(url)).headers["ETag"]}
    changed = await api.patch(url, json={"description": "new"}, headers=old)
    for answer in (
        await api.patch(url, json={"description": "newer"}, headers=old),
        await api.put(f"{url}/rules", json=RULES, headers=old),
        await api.post(f"{url}/rules:add", json=RULES, headers=old),
        await api.post(
            f"{url}/rules:remove", json={"rules": key["rules"], "even_the_last": True}, headers=old
        ),
        await api.post(f"{url}:disable", headers=old),
        await api.post(f"{url}:extend", json={"expires_at": "2099-01-01T00:00:00Z"}, headers=old),
        await api.post(f"{url}:rotate", json={}, headers=old),
        await api.delete(url, headers=old),
    ):
        assert refusal(answer) == (412, "etag_mismatch"), answer.request.url
    assert (await api.get(url)).headers["ETag"] == changed.headers["ETag"]


async def test_any_version_will_do_for_an_asterisk(api: httpx.AsyncClient) -> None:
    url = f"/keys/{(await create(api))['id']}"
    answer = await api.patch(url, json={"description": "new"}, headers={"If-Match": "*"})
    assert answer.json()["description"] == "new"


@pytest.mark.parametrize("tag", MALFORMED)
async def test_what_is_no_strong_tag_is_refused(api: httpx.AsyncClient, tag: str) -> None:
    url = f"/keys/{(await create(api))['id']}"
    answer = await api.patch(url, json={"description": "new"}, headers={"If-Match": tag})
    assert refusal(answer) == (400, "if_match_invalid")
    assert pointers(answer) == ["header:If-Match"]
    assert (await api.get(url)).json()["description"] == "A key"


async def test_of_two_administrators_who_edit_at_once_one_is_told(api: httpx.AsyncClient) -> None:
    url = f"/keys/{(await create(api))['id']}"
    for number in range(5):
        seen = {"If-Match": (await api.get(url)).headers["ETag"]}
        answers = await asyncio.gather(
            api.patch(url, json={"description": f"Eva {number}"}, headers=seen),
            api.patch(url, json={"expires_at": f"2099-01-0{number + 1}T00:00:00Z"}, headers=seen),
        )
        assert sorted(one.status_code for one in answers) == [200, 412]
        [done] = [one for one in answers if one.status_code == 200]
        [told] = [one for one in answers if one.status_code == 412]
        assert refusal(told) == (412, "etag_mismatch")
        now = await api.get(url)
        assert now.headers["ETag"] == done.headers["ETag"]
        assert {**now.json(), **done.json()} == {**now.json(), "warnings": []}


async def test_what_is_left_out_stays_and_what_cannot_be_null_is_not(api: httpx.AsyncClient) -> None:
    key = await create(api, expires_at="2099-01-01T00:00:00Z")
    url = f"/keys/{key['id']}"
    anyhow = {"If-Match": "*"}
    edited = (await api.patch(url, json={"enabled": False}, headers=anyhow)).json()
    assert (edited["description"], edited["expires_at"]) == ("A key", "2099-01-01T00:00:00Z")
    assert edited["state"] == "disabled"
    assert (await api.patch(url, json={"expires_at": None}, headers=anyhow)).json()["expires_at"] is None
    for name in ("description", "enabled"):
        answer = await api.patch(url, json={name: None}, headers=anyhow)
        assert refusal(answer)[0] == 422
        assert pointers(answer) == [f"/{name}"]
    unknown = await api.patch(url, json={"type": "desktop"}, headers=anyhow)
    assert refusal(unknown) == (422, "unknown")
    assert pointers(unknown) == ["/type"]
