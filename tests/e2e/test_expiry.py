"""A key of a running gateway expires and is deleted by the real clock, and both are entered (D5)."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from e2e.gateways import serving, upstream_server
from e2e.processes import wait_until
from scopegate.commands import Commands
from scopegate.core.keys import KeyType
from scopegate.enforcer import utc_now
from scopegate.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from scopegate.commands import IssuedKey

LIFE = timedelta(seconds=2)
REST = timedelta(seconds=4)  # in place of seven days


async def create(url: str) -> IssuedKey:
    store = Store.at(url)
    try:
        return await Commands(store, deletion_delay=REST).create_key(
            key_type=KeyType.EXTERNAL, description="A short life", expires_at=utc_now() + LIFE
        )
    finally:
        await store.aclose()


def test_a_key_expires_is_deleted_and_both_are_entered(short_dir: Path) -> None:
    with upstream_server() as upstream, serving(short_dir, upstream.url) as gateway:
        issued = asyncio.run(create(gateway.store_url))

        def entries() -> list[dict[str, Any]]:
            listed = json.loads(gateway.cli("audit", "list", "-o", "json").out)
            return [one for one in reversed(listed) if one["target"]["id"] == issued.record.id]

        def code() -> str:
            answer = gateway.get("/x", issued.secret)
            return "" if answer.status_code == 200 else str(answer.json()["code"])

        assert code() == ""
        wait_until(lambda: code() == "key_expired", "the key has expired")
        wait_until(lambda: len(entries()) >= 2, "its expiry is entered")
        wait_until(lambda: code() == "key_invalid", "the key is deleted")
        wait_until(lambda: len(entries()) >= 3, "its deletion is entered")
        said = entries()
        assert [one["action"] for one in said] == ["key.create", "key.expire", "key.delete"]
        assert {one["actor"] for one in said[1:]} == {"system"}
        assert issued.record.expires_at is not None
        assert said[1]["at"] >= issued.record.expires_at.isoformat(timespec="milliseconds")[:23]
        assert gateway.cli("audit", "verify").code == 0
        assert json.loads(gateway.cli("key", "list", "-o", "json").out) == []
