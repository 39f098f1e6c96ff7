"""Requests that are none: what is no JSON, too large, of another type, or of no method that there is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from asgi.adminapi import create, pointers, refusal
from scopegate.admin.outermost import LARGEST_BODY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

GOOD = json.dumps({"type": "external", "description": "d"}).encode()
AS_JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "body", [b"{", b"nonsense", b'{"a":1}}', b"\xff\xfe", b'{"a":"\xff"}', b"[" * 100_000]
)
async def test_what_is_no_json_is_refused(api: httpx.AsyncClient, body: bytes) -> None:
    answer = await api.post("/keys", content=body, headers=AS_JSON)
    assert refusal(answer) == (400, "json_invalid")


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"x"', b""])
async def test_what_is_no_object_is_refused(api: httpx.AsyncClient, body: bytes) -> None:
    answer = await api.post("/keys", content=body, headers=AS_JSON)
    assert refusal(answer)[0] == 422
    assert pointers(answer) == [""]


@pytest.mark.parametrize(
    "media_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
async def test_a_body_of_another_type_is_refused(api: httpx.AsyncClient, media_type: str | None) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    answer = await api.post("/keys", content=GOOD, headers=headers)
    assert refusal(answer) == (415, "media_type_not_supported")
    assert (await api.get("/quota")).json()["used"] == 0


async def test_json_may_say_its_charset(api: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert (await api.post("/keys", content=GOOD, headers=headers)).status_code == 201


async def test_a_body_of_more_than_four_megabytes_is_not_read(api: httpx.AsyncClient) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 65_536
            yield b" " * 65_536

    answer = await api.post("/keys", content=endless(), headers=AS_JSON)
    assert refusal(answer) == (413, "body_too_large")
    assert taken <= LARGEST_BODY + 2 * 65_536
    enough = GOOD + b" " * (LARGEST_BODY - len(GOOD))
    assert (await api.post("/keys", content=enough, headers=AS_JSON)).status_code == 201
    assert refusal(await api.post("/keys", content=enough + b" ", headers=AS_JSON)) == (413, "body_too_large")


async def test_a_method_that_there_is_not_is_told_with_those_that_there_are(api: httpx.AsyncClient) -> None:
    answer = await api.put("/keys")
    assert refusal(answer) == (405, "method_not_supported")
    assert answer.headers["Allow"] == "GET, POST"
    key = await create(api)
    assert (await api.post(f"/keys/{key['id']}")).headers["Allow"] == "DELETE, GET, PATCH"


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/keys/", "/keys/a/b/c", "/keys/x:burn", "/../v2", "//keys"]
)
async def test_where_nothing_is_there_is_nothing(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.post(path, json={})
    assert answer.status_code in {404, 405}
    refusal(answer)


async def test_every_answer_has_an_id_and_is_not_kept(api: httpx.AsyncClient) -> None:
    answers = [await api.get("/keys"), await api.get("/nothing"), await api.post("/keys", json={})]
    for answer in answers:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    ids = [one.headers["X-Request-Id"] for one in answers]
    assert len(set(ids)) == 3
    assert ids[1] in answers[1].json()["instance"]


async def test_several_faults_are_told_at_once(api: httpx.AsyncClient) -> None:
    answer = await api.post("/keys", json={"type": "root", "user": 1, "colour": "red"})
    assert refusal(answer)[0] == 422
    assert set(pointers(answer)) == {"/type", "/user", "/colour", "/description"}
