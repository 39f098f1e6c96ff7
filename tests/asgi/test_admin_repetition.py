"""`Idempotency-Key`: a request that comes again makes no second secret."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from asgi.adminapi import create, create_custom, pointers, refusal

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane

ONCE = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
BODY = {"type": "external", "description": "Reporting tool"}


async def test_a_repetition_is_answered_with_the_key_and_without_its_secret(api: httpx.AsyncClient) -> None:
    first = await api.post("/keys", json=BODY, headers=ONCE)
    again = await api.post("/keys", json=BODY, headers=ONCE)
    assert (first.status_code, again.status_code) == (201, 200)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.json() == {**first.json(), "secret": None, "secret_status": "already_shown"}
    bare = {"Idempotency-Key": ONCE["Idempotency-Key"].strip('"')}
    assert (await api.post("/keys", json=BODY, headers=bare)).json()["id"] == first.json()["id"]
    assert (await api.get("/quota")).json()["used"] == 1


async def test_rotation_and_duplication_are_not_done_twice_either(api: httpx.AsyncClient) -> None:
    key = await create_custom(api, "/api/recordings/*")
    for action, body in (("rotate", {}), ("duplicate", {"description": "Other"})):
        url = f"/keys/{key['id']}:{action}"
        first = await api.post(url, json=body, headers=ONCE)
        again = await api.post(url, json=body, headers=ONCE)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert first.json()["secret"]
        assert (again.json()["id"], again.json()["secret"]) == (first.json()["id"], None)
    assert (await api.get("/quota")).json()["used"] == 2


async def test_one_key_for_two_requests_is_refused(api: httpx.AsyncClient) -> None:
    await api.post("/keys", json=BODY, headers=ONCE)
    answer = await api.post("/keys", json={**BODY, "description": "Other"}, headers=ONCE)
    assert refusal(answer) == (422, "idempotency_key_reused")
    assert (await api.get("/quota")).json()["used"] == 1


async def test_one_key_for_two_tenants_makes_a_key_for_each(api: httpx.AsyncClient) -> None:
    await api.post("/tenants", json={"id": "acme"})
    one = await api.post("/keys", json=BODY, headers=ONCE)
    other = await api.post("/keys", json=BODY, headers=ONCE, params={"tenant": "acme"})
    assert (one.status_code, other.status_code) == (201, 201)


async def test_the_same_key_of_another_caller_is_another_request(plane: ControlPlane) -> None:
    eva = await plane.signed_in("key_administrator", email="eva@example.com")
    tom = await plane.signed_in("key_administrator", email="tom@example.com")
    one = await eva.post("/keys", json=BODY, headers=ONCE)
    other = await tom.post("/keys", json=BODY, headers=ONCE)
    assert (one.status_code, other.status_code) == (201, 201)
    assert one.json()["id"] != other.json()["id"]


@pytest.mark.parametrize("key", ["", '""', "a b", '"a', "ä", "x" * 256, '"a\\"b"'])
async def test_what_is_no_key_is_refused(api: httpx.AsyncClient, key: str) -> None:
    answer = await api.post("/keys", json=BODY, headers=[(b"Idempotency-Key", key.encode("utf-8"))])
    assert refusal(answer) == (400, "idempotency_key_invalid")
    assert pointers(answer) == ["header:Idempotency-Key"]
    assert (await api.get("/quota")).json()["used"] == 0


async def test_of_twenty_at_once_one_makes_a_key(api: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(api.post("/keys", json=BODY, headers=ONCE) for _ in range(20)))
    said: list[dict[str, Any]] = [one.json() for one in answers]
    assert sorted(one.status_code for one in answers) == [200] * 19 + [201]
    assert len({one["id"] for one in said}) == 1
    assert sum(one["secret"] is not None for one in said) == 1
    assert (await api.get("/quota")).json()["used"] == 1


async def test_a_key_that_was_deleted_meanwhile_is_not_made_again(api: httpx.AsyncClient) -> None:
    key = (await api.post("/keys", json=BODY, headers=ONCE)).json()
    await api.delete(f"/keys/{key['id']}")
    assert refusal(await api.post("/keys", json=BODY, headers=ONCE)) == (409, "idempotent_key_gone")


async def test_a_refused_request_is_not_remembered(api: httpx.AsyncClient) -> None:
    refused = await api.post("/keys", json={**BODY, "user": "nobody"}, headers=ONCE)
    assert refusal(refused) == (422, "user_not_found")
    assert (await api.post("/keys", json=BODY, headers=ONCE)).status_code == 201


async def test_without_a_key_each_request_counts(api: httpx.AsyncClient) -> None:
    assert (await create(api))["id"] != (await create(api))["id"]


async def test_the_same_key_for_another_operation_is_another_request(api: httpx.AsyncClient) -> None:
    key = (await api.post("/keys", json=BODY, headers=ONCE)).json()
    for action, body in (("rotate", {}), ("duplicate", {"description": "Other"})):
        answer = await api.post(f"/keys/{key['id']}:{action}", json=body, headers=ONCE)
        assert answer.json()["secret"], answer.text
