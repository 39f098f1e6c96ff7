"""All keys that are none get one answer, whichever server gives it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from scopegate.commands import Commands
from scopegate.core import keys
from scopegate.core.keys import KeyType
from scopegate.store import Store
from wire.servers import KEY, WRONG_KEY, request

if TYPE_CHECKING:
    from wire.servers import Server, Servers
    from wire.wires import Message

VARYING = {b"date", b"x-request-id"}
HANDSHAKE = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def wrong_keys(redis_url: str) -> dict[str, bytes]:
    right = KEY.decode()
    body = right[: -keys.SECRET_LENGTH - keys.CHECKSUM_LENGTH] + "x" * keys.SECRET_LENGTH
    return {
        "unknown": WRONG_KEY,
        "of a wrong secret": (body + keys._checksum(body)).encode(),
        "of a wrong checksum": KEY[:-1] + (b"0" if KEY[-1:] != b"0" else b"1"),
        "garbage": b"nonsense",
        "empty": b"",
        "more than a key": KEY + b"x",
        "not ASCII": b"\xe4",
        "deleted by time": asyncio.run(deleted_key(redis_url)),
    }


async def deleted_key(redis_url: str) -> bytes:
    past = datetime.now(UTC) - timedelta(days=8)
    store = Store.at(redis_url)
    try:
        created = await Commands(store, clock=lambda: past).create_key(
            key_type=KeyType.EXTERNAL, description="Long expired", expires_at=past + timedelta(minutes=1)
        )
    finally:
        await store.aclose()
    return created.new_secret.encode()


def without_request_id(answer: Message) -> tuple[bytes, dict[bytes, bytes], dict[str, object]]:
    fields = {name.lower(): value for name, value in answer.fields if name.lower() not in VARYING}
    body = json.loads(answer.body)
    assert body.pop("instance") == f"urn:uuid:{answer.values(b'x-request-id')[0].decode()}"
    return answer.start, fields, body


@pytest.mark.parametrize("form", ["X-API-Key", "Bearer", "WebSocket"])
def test_keys_that_are_none_are_told_apart_by_nothing(server: Server, servers: Servers, form: str) -> None:
    answers = {}
    for name, key in wrong_keys(servers._environment["SCOPEGATE_REDIS_URL"]).items():
        field = b"Authorization: Bearer " if form == "Bearer" else b"X-API-Key: "
        if form == "Bearer" and not key:
            continue  # that is no key at all
        more = HANDSHAKE if form == "WebSocket" else ()
        for asked in ("for the first time", "again"):
            with server.connect() as wire:
                wire.send(request(b"GET", b"/x", field + key, *more, key=b""))
                answers[name, asked] = without_request_id(wire.answer())
    first = answers["unknown", "again"]
    assert first[0].startswith(b"HTTP/1.1 401")
    assert first[2]["code"] == "key_invalid"
    assert {name for name, answer in answers.items() if answer != first} == set()
