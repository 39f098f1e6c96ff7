"""Expiry over the API: a key expires, can be extended for seven days, and is gone then (D5)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from asgi.adminapi import create, pointers, refusal

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane

DAY = timedelta(days=1)
MOMENT = timedelta(seconds=1)


async def test_a_key_expires_and_is_deleted_seven_days_later(
    plane: ControlPlane, api: httpx.AsyncClient
) -> None:
    key = await create(api, expires_at=plane.clock.after(DAY))
    url = f"/keys/{key['id']}"
    plane.clock.put_on(DAY - MOMENT)
    assert (await api.get(url)).json()["state"] == "active"
    plane.clock.put_on(MOMENT)
    shown = (await api.get(url)).json()
    assert (shown["state"], shown["delete_at"]) == ("expired", plane.clock.after(7 * DAY))
    plane.clock.put_on(7 * DAY - MOMENT)
    quota = (await api.get("/quota")).json()
    assert (quota["used"], quota["by_state"]["expired"], quota["reclaimable"]) == (1, 1, 1)
    plane.clock.put_on(MOMENT)
    assert (await api.get("/quota")).json()["used"] == 0
    assert (await api.get("/keys")).json()["items"] == []
    for answer in (
        await api.post(f"{url}:extend", json={"expires_at": None}),
        await api.patch(url, json={"expires_at": None}, headers={"If-Match": "*"}),
        await api.post(f"{url}:rotate", json={}),
    ):
        assert refusal(answer) == (404, "not_found")


async def test_a_key_that_expired_comes_back_within_seven_days(
    plane: ControlPlane, api: httpx.AsyncClient
) -> None:
    for body in ({"expires_at": None}, {"expires_at": plane.clock.after(100 * DAY)}):
        key = await create(api, expires_at=plane.clock.after(DAY))
        url = f"/keys/{key['id']}"
        plane.clock.put_on(8 * DAY - MOMENT)
        for action, said in (("rotate", {}), ("duplicate", {"description": "d"})):
            assert refusal(await api.post(f"{url}:{action}", json=said)) == (409, "key_expired")
        extended = (await api.post(f"{url}:extend", json=body)).json()
        assert (extended["state"], extended["expires_at"]) == ("active", body["expires_at"])


async def test_a_key_that_was_disabled_stays_so_when_it_is_extended(
    plane: ControlPlane, api: httpx.AsyncClient
) -> None:
    key = await create(api, expires_at=plane.clock.after(DAY))
    url = f"/keys/{key['id']}"
    assert (await api.post(f"{url}:disable")).json()["state"] == "disabled"
    plane.clock.put_on(2 * DAY)
    assert (await api.get(url)).json()["state"] == "expired"
    assert (await api.post(f"{url}:extend", json={"expires_at": None})).json()["state"] == "disabled"


async def test_an_expiry_is_not_before_now(plane: ControlPlane, api: httpx.AsyncClient) -> None:
    key = await create(api)
    for expires_at in (plane.clock.after(-MOMENT), plane.clock.after(0 * DAY)):
        for answer in (
            await api.post("/keys", json={"type": "external", "description": "d", "expires_at": expires_at}),
            await api.post(f"/keys/{key['id']}:extend", json={"expires_at": expires_at}),
            await api.patch(f"/keys/{key['id']}", json={"expires_at": expires_at}, headers={"If-Match": "*"}),
        ):
            assert refusal(answer) == (422, "expiry_in_past")
            assert pointers(answer) == ["/expires_at"]


async def test_any_offset_is_taken_and_answered_in_utc(api: httpx.AsyncClient) -> None:
    key = await create(api, expires_at="2099-03-31T23:59:00+02:00")
    assert key["expires_at"] == "2099-03-31T21:59:00Z"
    assert key["delete_at"] == "2099-04-07T21:59:00Z"


async def test_a_tenants_longest_lifetime_holds_for_each_way(
    plane: ControlPlane, api: httpx.AsyncClient
) -> None:
    old = await create(api)
    await api.patch("/tenants/default/settings", json={"max_lifetime": 30})
    late = plane.clock.after(30 * DAY + MOMENT)
    url = f"/keys/{old['id']}"
    for answer in (
        await api.post("/keys", json={"type": "external", "description": "d"}),
        await api.post("/keys", json={"type": "external", "description": "d", "expires_at": late}),
        await api.post(f"{url}:extend", json={"expires_at": late}),
        await api.post(f"{url}:duplicate", json={"description": "d"}),
    ):
        assert refusal(answer) == (422, "expiry_too_late")
    assert (await api.get(url)).json()["expires_at"] is None
    assert (await api.post(f"{url}:extend", json={"expires_at": plane.clock.after(30 * DAY)})).is_success
    assert (await create(api, type="desktop"))["expires_at"] is None
