"""How many keys a tenant may have (D2), and what it is told when it has them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from asgi.adminapi import create, refusal

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane

DAY = timedelta(days=1)
ANOTHER = {"type": "external", "description": "One more"}


async def test_a_tenant_has_three_hundred_keys(api: httpx.AsyncClient) -> None:
    body = {"keys": [{"type": "desktop", "description": f"Key {number}"} for number in range(300)]}
    assert (await api.post("/keys:import", json=body)).json()["succeeded"] == 300
    answer = await api.post("/keys", json=ANOTHER)
    assert refusal(answer) == (409, "key_limit_reached")
    assert (answer.json()["limit"], answer.json()["used"]) == (300, 300)
    listed = (await api.get("/keys", params={"limit": 1})).json()
    assert listed["total"] == 300
    assert (await api.delete(f"/keys/{listed['items'][0]['id']}")).status_code == 204
    await create(api)


async def test_the_refusal_says_what_the_keys_are(plane: ControlPlane, api: httpx.AsyncClient) -> None:
    await api.patch("/tenants/default/settings", json={"key_limit": 3})
    await create(api, expires_at=plane.clock.after(DAY))
    disabled = await create(api)
    await api.post(f"/keys/{disabled['id']}:disable")
    await create(api, type="desktop")
    plane.clock.put_on(2 * DAY)
    answer = await api.post("/keys", json=ANOTHER)
    said = answer.json()
    assert refusal(answer) == (409, "key_limit_reached")
    assert (said["limit"], said["used"], said["reclaimable"]) == (3, 3, 1)
    assert said["by_state"] == {"active": 1, "disabled": 1, "expired": 1}
    assert said["by_type"] == {"desktop": 1, "external": 2, "custom": 0}
    assert "1 expired" in said["detail"]
    assert said["hint"]
    duplicate = await api.post(f"/keys/{disabled['id']}:duplicate", json={"description": "d"})
    assert refusal(duplicate) == (409, "key_limit_reached")
    quota = (await api.get("/quota")).json()
    assert quota == {
        "limit": 3,
        "used": 3,
        "left": 0,
        "by_type": said["by_type"],
        "by_state": said["by_state"],
        "reclaimable": 1,
        "never_expiring": 2,
    }


async def test_a_key_that_expired_keeps_its_place_until_it_is_deleted(
    plane: ControlPlane, api: httpx.AsyncClient
) -> None:
    await api.patch("/tenants/default/settings", json={"key_limit": 1})
    await create(api, expires_at=plane.clock.after(DAY))
    plane.clock.put_on(8 * DAY - timedelta(seconds=1))
    assert refusal(await api.post("/keys", json=ANOTHER)) == (409, "key_limit_reached")
    plane.clock.put_on(timedelta(seconds=1))
    await create(api)


async def test_no_more_than_there_is_room_for_are_made_at_once(api: httpx.AsyncClient) -> None:
    await api.patch("/tenants/default/settings", json={"key_limit": 5})
    answers = await asyncio.gather(*(api.post("/keys", json=ANOTHER) for _ in range(20)))
    assert sorted(one.status_code for one in answers) == [201] * 5 + [409] * 15
    assert (await api.get("/quota")).json()["used"] == 5


async def test_a_lower_limit_deletes_no_key(api: httpx.AsyncClient) -> None:
    for _ in range(3):
        await create(api)
    await api.patch("/tenants/default/settings", json={"key_limit": 2})
    quota = (await api.get("/quota")).json()
    assert (quota["limit"], quota["used"], quota["left"]) == (2, 3, 0)
    assert refusal(await api.post("/keys", json=ANOTHER)) == (409, "key_limit_reached")
