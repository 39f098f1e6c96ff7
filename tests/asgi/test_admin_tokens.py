"""Tokens of administrators: what stops one, and what becomes of guesses."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from asgi.adminapi import create, kept, pointers, refusal
from scopegate.administration.authentication import FAILURE_LIMIT

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane

DAY = timedelta(days=1)
INVALID = (401, "token_invalid")


async def own_token(client: httpx.AsyncClient) -> str:
    token_id: str = (await client.get("/whoami")).json()["token"]["id"]
    return token_id


async def test_a_token_that_is_revoked_is_good_no_longer(plane: ControlPlane, api: httpx.AsyncClient) -> None:
    eva = await plane.signed_in("key_administrator")
    assert (await eva.get("/keys")).status_code == 200
    assert (await api.delete(f"/tokens/{await own_token(eva)}")).status_code == 204
    answer = await eva.get("/keys")
    assert refusal(answer) == INVALID
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


async def test_a_token_expires(plane: ControlPlane) -> None:
    eva = await plane.signed_in("key_administrator")
    plane.clock.put_on(90 * DAY - timedelta(seconds=1))
    assert (await eva.get("/keys")).status_code == 200
    plane.clock.put_on(timedelta(seconds=1))
    assert refusal(await eva.get("/keys")) == INVALID


async def test_what_an_administrator_loses_counts_for_the_next_request(
    plane: ControlPlane, api: httpx.AsyncClient
) -> None:
    eva = await plane.signed_in("key_administrator")
    url = f"/administrators/{(await eva.get('/whoami')).json()['administrator']['id']}"
    await create(eva)
    await api.patch(url, json={"role": "auditor"})
    assert refusal(await eva.post("/keys", json={"type": "external", "description": "d"})) == (
        403,
        "forbidden",
    )
    await api.patch(url, json={"active": False})
    assert refusal(await eva.get("/keys")) == INVALID
    await api.patch(url, json={"active": True})
    assert (await eva.get("/keys")).status_code == 200
    await api.delete(url)
    assert refusal(await eva.get("/keys")) == INVALID


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer adm_", "Bearer sg_000000000000_x", "adm_x"],
)
async def test_every_token_that_is_not_valid_is_answered_alike(plane: ControlPlane, header: str) -> None:
    stranger = await plane.remote()
    answer = await stranger.get("/keys", headers={"Authorization": header})
    assert refusal(answer) == INVALID
    assert answer.json()["detail"] == "The token is not valid."


async def test_two_tokens_are_none(plane: ControlPlane) -> None:
    eva = await plane.signed_in("key_administrator")
    token = eva.headers["Authorization"]
    stranger = await plane.remote()
    answer = await stranger.get("/keys", headers=[("Authorization", token), ("Authorization", token)])
    assert refusal(answer) == INVALID


async def test_a_key_is_no_token(plane: ControlPlane, api: httpx.AsyncClient) -> None:
    key = await create(api, type="desktop")
    stranger = await plane.remote(key["secret"])
    assert refusal(await stranger.get("/keys")) == INVALID
    assert refusal(await stranger.get("/keys", headers={"X-API-Key": key["secret"]})) == INVALID


async def test_guesses_of_one_address_are_slowed_down(plane: ControlPlane) -> None:
    eva = await plane.signed_in("key_administrator")
    assert (await eva.get("/keys")).status_code == 200
    guesser = await plane.remote("adm_000000000000_guess")
    for _ in range(FAILURE_LIMIT):
        assert refusal(await guesser.get("/keys"))[0] in {401, 429}
    answer = await guesser.get("/keys")
    assert refusal(answer) == (429, "too_many_failures")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    # A token that was right before is looked at all the same, and so are other addresses.
    assert (await eva.get("/keys")).status_code == 200
    elsewhere = await plane.remote("adm_000000000000_guess", origin="198.51.100.9")
    assert refusal(await elsewhere.get("/keys")) == INVALID


async def test_a_tokens_text_is_in_one_answer_and_nowhere_else(
    store_url: str, plane: ControlPlane, api: httpx.AsyncClient
) -> None:
    eva = await plane.signed_in("system_administrator")
    issued = (await eva.post("/tokens", json={"description": "Laptop"})).json()
    secret = issued["secret"].rpartition("_")[2]
    later = [
        await eva.get(path)
        for path in (
            "/tokens",
            "/whoami",
            "/administrators",
            "/audit?system=true",
            "/audit/export?system=true",
        )
    ]
    assert all(one.status_code == 200 for one in later)
    assert issued["id"] in later[0].text
    assert all(secret not in one.text for one in later)
    assert secret not in str(await kept(store_url))


async def test_everybody_has_tokens_of_their_own_alone(plane: ControlPlane) -> None:
    eva = await plane.signed_in("key_administrator", email="eva@example.com")
    tom = await plane.signed_in("key_administrator", email="tom@example.com")
    of_tom = (await tom.get("/whoami")).json()
    mine = (await eva.post("/tokens", json={"description": "Second"})).json()
    assert {one["id"] for one in (await eva.get("/tokens")).json()["items"]} == {
        await own_token(eva),
        mine["id"],
    }
    assert refusal(await eva.delete(f"/tokens/{of_tom['token']['id']}")) == (404, "not_found")
    others = {"administrator": of_tom["administrator"]["id"]}
    assert refusal(await eva.get("/tokens", params=others)) == (403, "forbidden")
    assert refusal(await eva.post("/tokens", json={"description": "d", **others})) == (403, "forbidden")
    assert (await eva.delete(f"/tokens/{mine['id']}")).status_code == 204


async def test_a_token_lives_for_a_year_at_most(plane: ControlPlane) -> None:
    eva = await plane.signed_in("key_administrator")
    for days, good in ((366, True), (367, False), (0, False)):
        body = {"description": "d", "expires_at": plane.clock.after(days * DAY)}
        answer = await eva.post("/tokens", json=body)
        assert answer.is_success is good, answer.text
        if not good:
            assert refusal(answer)[0] == 422
            assert pointers(answer) == ["/expires_at"]


async def test_the_operator_says_whose_token_is_made(api: httpx.AsyncClient) -> None:
    answer = await api.post("/tokens", json={"description": "d"})
    assert refusal(answer)[0] == 422
    assert pointers(answer) == ["/administrator"]
