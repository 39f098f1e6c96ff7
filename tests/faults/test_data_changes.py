"""What others do to the data: an operator by hand, another version, and a server that is full."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from e2e.processes import scopegate, wait_until
from faults.history import longest_after_revocation
from faults.scene import STRANGER, USER

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from faults.scene import Scene

BALLAST = "x" * 10_000


def disable_by_hand(client: redis.Redis, name: str) -> None:
    record: dict[str, Any] = json.loads(str(client.get(name)))
    client.set(name, json.dumps({**record, "enabled": False}))


BY_HAND: dict[str, Callable[[redis.Redis, str], object]] = {
    "SET": disable_by_hand,
    "DEL": lambda client, name: client.delete(name),
    "UNLINK": lambda client, name: client.unlink(name),
    "RENAME": lambda client, name: client.rename(name, "elsewhere"),
    "MOVE": lambda client, name: client.move(name, 1),
    "EVAL": lambda client, name: client.eval("return redis.call('DEL', KEYS[1])", 1, name),
    "PEXPIRE": lambda client, name: client.pexpire(name, 200),
    "PEXPIREAT in the past": lambda client, name: client.pexpireat(name, 1),
    "FLUSHDB": lambda client, _name: client.flushdb(),
    "FLUSHALL ASYNC": lambda client, _name: client.flushall(asynchronous=True),
}


@pytest.mark.parametrize("how", BY_HAND)
def test_what_is_done_by_hand_counts_at_once(seen: Scene, how: str) -> None:
    seen.create("changed")
    seen.call("changed", times=4)
    seen.known("changed")
    begun = time.monotonic()
    with seen.redis.client(decode_responses=True) as operator:
        BY_HAND[how](operator, seen.name_in_redis("changed"))
    if how == "PEXPIRE":
        wait_until(lambda: not seen.exists("changed"), "it expires")
    seen.note(begun, "changed", opens=False)
    seen.settle(401)
    seen.judge()


def test_a_record_of_another_version_lets_nobody_in_and_breaks_nothing_else(seen: Scene) -> None:
    seen.create("kept", "newer")
    seen.call("kept", times=4)
    seen.known("kept")
    name = seen.name_in_redis("newer")
    with seen.redis.client(decode_responses=True) as other:
        record = json.loads(str(other.get(name)))
        other.set(name, json.dumps({**record, "only_from": "10.0.0.0/8"}))
        for _ in range(8):
            answer = seen.gateway.get("/x", seen.texts["newer"].text)
            assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
            assert "retry-after" in answer.headers
        other.set(name, json.dumps(record))
    seen.call("newer", times=4)
    seen.settle()
    seen.judge()


# A server that is full


def test_a_full_server_takes_no_changes_and_goes_on_to_decide(seen: Scene) -> None:
    seen.gateway.fill()
    seen.create("kept", "cold", "revoked", "deleted")
    seen.create("of a user", user=USER)
    seen.call("kept", "revoked", "deleted", times=4)
    seen.call(STRANGER)
    seen.known("kept", "revoked", "deleted")
    seen.redis.set_up("maxmemory", "1")
    with seen.redis.client() as client:
        before = {name: client.dump(name) for name in client.keys("sg:{*")}
        for command in (
            ("key", "create", "--type", "external", "--description", "one more"),
            ("key", "disable", seen.texts["revoked"].id),
        ):
            finished = scopegate(*command, "--redis-url", seen.redis.url)
            assert (finished.code, finished.out) == (7, "")
            assert "OutOfMemoryError" in finished.err
            assert "Traceback" not in finished.err
        assert {name: client.dump(name) for name in client.keys("sg:{*")} == before
    # What takes rights away for good needs no room.
    begun = time.monotonic()
    deleted = scopegate("key", "delete", seen.texts["deleted"].id, "--yes", "--redis-url", seen.redis.url)
    assert deleted.code == 0, deleted.err
    seen.note(begun, "deleted", opens=False)
    seen.call("cold", "of a user")
    seen.settle(401, "deleted")
    seen.settle(200, "kept", "cold", "revoked", "of a user")
    seen.redis.set_up("maxmemory", "0")
    seen.switch("revoked", enabled=False)
    seen.settle(401, "revoked")
    seen.judge()


def test_what_a_full_server_forgets_opens_nothing_any_more(seen: Scene, figure: Callable[..., None]) -> None:
    seen.create("evicted")
    seen.call("evicted", times=4)
    seen.call(STRANGER)
    seen.known("evicted")
    seen.redis.set_up("maxmemory-policy", "allkeys-lru")
    begun = time.monotonic()
    with seen.redis.client() as client:
        seen.redis.set_up("maxmemory", str(client.info("memory")["used_memory"]))
        for number in range(10_000):
            if not seen.exists("evicted"):
                break
            client.set(f"ballast:{number}", BALLAST)
    assert not seen.exists("evicted")
    seen.note(begun, "evicted", opens=False)
    seen.settle(401)
    seen.judge()
    figure(revocation=longest_after_revocation(seen.history))
