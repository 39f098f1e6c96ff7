"""The audit log on real servers: an entry for each change, in the same step or not at all."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from scopegate.core.audit import Author, Bounds, link, parse, verify
from scopegate.core.errors import Conflict, FeatureDisabled, KeyLimitReached, NotFound, StoreUnavailable
from scopegate.core.keys import KeyType
from scopegate.core.policies import Policies
from scopegate.core.tenants import SCOPED_API, Tenant
from scopegate.store import Store, audit, layout
from scopegate.store.audit import decode_bounds
from scopegate.store.view import NOT_KNOWN
from store import changer
from store.facts import NOW, POLICIES, RULES, TAG, key, names, text_of, user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

LOG = layout.audit(TAG)
BOUNDS = layout.audit_bounds(TAG)
PROCESSES = 3
ROUNDS = 40
DEADLINE = 20.0  # seconds


async def entries(store: Store) -> list[dict[str, Any]]:
    return [parse(line) async for line in store.audit.forwards()]


async def actions(store: Store) -> list[str]:
    return [one["action"] for one in await entries(store)]


def bounds(raw: Any) -> Bounds:
    return decode_bounds(raw.get(BOUNDS) or b"")


async def test_before_the_first_change_there_is_nothing_and_that_is_whole(store: Store) -> None:
    found = await store.audit.verify()
    assert (found.broken, found.count) == (None, 0)
    assert [line async for line in store.audit.backwards()] == []


async def test_each_change_has_one_entry(store: Store) -> None:
    await store.policies.put(POLICIES)
    await store.policies.set_flag(SCOPED_API, on=True)
    await store.users.put([user("kim"), user("lou")])
    await store.users.add(user("max"))
    await store.users.change("kim", lambda one: replace(one, roles=names("agent")))
    await store.users.delete("lou")
    await store.keys.create(key(), now=NOW)
    await store.keys.change(key().id, lambda record: replace(record, enabled=False))
    await store.keys.delete(key().id)
    assert await actions(store) == [
        *("policies.apply", "flag.set", "user.put", "user.put", "user.add", "user.role.add"),
        *("user.delete", "key.create", "key.disable", "key.delete"),
    ]
    found = await store.audit.verify()
    assert (found.broken, found.count) == (None, 10)


async def test_what_fails_or_changes_nothing_has_no_entry(store: Store, raw: Any) -> None:
    await store.policies.put(POLICIES)
    await store.users.put([user("kim")])
    await store.keys.create(key(), now=NOW)
    before = {name: raw.dump(name) for name in raw.keys("*")}
    await store.policies.put(POLICIES)
    await store.policies.set_flag(SCOPED_API, on=False)
    await store.users.put([user("kim")])
    await store.users.put([])
    await store.users.change("kim", lambda one: one)
    await store.keys.change(key().id, lambda record: record)
    for refused, attempt in (
        (Conflict, store.users.add(user("kim"))),
        (Conflict, store.keys.create(key(digest="0" * 64), now=NOW)),
        (KeyLimitReached, store.keys.create(key(2), now=NOW, limit=1)),
        (FeatureDisabled, store.keys.create(key(2, type=KeyType.CUSTOM, rules=RULES), now=NOW)),
        (NotFound, store.keys.delete(key(2).id)),
        (NotFound, store.keys.change(key(2).id, lambda record: record)),
        (NotFound, store.users.delete("nobody")),
    ):
        with pytest.raises(refused):
            await attempt
    assert {name: raw.dump(name) for name in raw.keys("*")} == before


async def test_an_entry_says_who_where_and_why(store_url: str) -> None:
    store = Store.at(store_url, author=Author("cli:kim@host", "cli", "because"))
    await store.keys.create(key(), now=NOW)
    [entry] = await entries(store)
    await store.aclose()
    assert (entry["actor"], entry["origin"], entry["reason"]) == ("cli:kim@host", "cli", "because")
    assert entry["target"] == {"kind": "key", "id": key().id}


async def test_no_digest_is_in_the_log(store: Store, raw: Any) -> None:
    await store.keys.create(key(), now=NOW)
    await store.keys.change(key().id, lambda record: replace(record, digest="e" * 64))
    await store.keys.delete(key().id)
    stored = b"".join(raw.lrange(LOG, 0, -1))
    assert key().digest.encode() not in stored
    assert b"e" * 64 not in stored
    assert "key.rotate" in await actions(store)


# Many at the same time


def test_processes_at_the_same_time_make_one_chain(store_url: str, raw: Any) -> None:
    answers = changed_by_processes(store_url, retention=10**6)
    found = asyncio.run(everything(store_url))
    assert verify(found, bounds(raw)) is None
    done = Counter(parse(line)["action"] for line in found)
    each = PROCESSES * ROUNDS
    assert answers == [ROUNDS * changer.CHANGES] * PROCESSES
    for action in ("key.create", "key.disable", "user.add", "user.role.add", "user.delete"):
        assert done[action] == each, action
    assert done["user.put"] == each, "each organization is another one"
    # An entry for each change of the flag: they alternate.
    turned = [parse(line)["changed"]["on"]["after"] for line in found if parse(line)["action"] == "flag.set"]
    assert turned == [number % 2 == 0 for number in range(len(turned))]
    assert len(raw.keys(layout.key_record(TAG, "*"))) == raw.zcard(layout.key_index(TAG)) == each
    assert raw.keys(layout.user_record(TAG, "u*")) == []


def test_processes_at_the_same_time_keep_to_retention(store_url: str, raw: Any) -> None:
    changed_by_processes(store_url, retention=50)
    assert raw.llen(LOG) == 50
    assert verify(raw.lrange(LOG, 0, -1), bounds(raw)) is None
    assert bounds(raw).anchor.sequence == bounds(raw).head.sequence - 50 > 0


def changed_by_processes(store_url: str, *, retention: int) -> list[int]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(
                    [
                        *(sys.executable, changer.__file__, store_url),
                        *(str(n * ROUNDS), str(ROUNDS), str(retention)),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
            )
            for n in range(PROCESSES)
        ]
        assert [process.stdout.readline() for process in running if process.stdout] == ["ready\n"] * PROCESSES
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [int(process.communicate()[0]) for process in running]


async def everything(store_url: str) -> list[bytes]:
    store = Store.at(store_url)
    lines = [line async for line in store.audit.forwards()]
    await store.aclose()
    return lines


async def between(store: Store, change: Callable[[], Awaitable[None]], happening: Callable[[], None]) -> None:
    """Make a change, and let something happen once after the end of the log was read for it."""
    journal = store.keys._journal
    read, pending = journal._end, [happening]

    async def end(client: Any) -> Any:
        found = await read(client)
        if pending:
            await asyncio.to_thread(pending.pop())
        return found

    journal._end = end  # type: ignore[method-assign, assignment]
    await change()
    assert not pending


KINDS: dict[str, Callable[[Store], Awaitable[Any]]] = {
    "key.create": lambda store: store.keys.create(key(9), now=NOW),
    "key.disable": lambda store: store.keys.change(key(1).id, lambda one: replace(one, enabled=False)),
    "key.delete": lambda store: store.keys.delete(key(1).id),
    "user.put": lambda store: store.users.put([user("kim", organization="Sales")]),
    "user.add": lambda store: store.users.add(user("max")),
    "user.deactivate": lambda store: store.users.change("kim", lambda one: replace(one, active=False)),
    "user.delete": lambda store: store.users.delete("kim"),
    "policies.apply": lambda store: store.policies.put(Policies()),
    "flag.set": lambda store: store.policies.set_flag(SCOPED_API, on=True),
}
each_kind = pytest.mark.parametrize("action", KINDS)


@pytest.fixture
async def filled(store: Store) -> Store:
    await store.keys.create(key(1), now=NOW)
    await store.users.put([user("kim")])
    await store.policies.put(POLICIES)
    return store


@each_kind
async def test_a_change_that_comes_second_is_entered_second(
    filled: Store, store_url: str, action: str
) -> None:
    def other() -> None:
        async def change() -> None:
            store = Store.at(store_url)
            await store.users.add(user("other"))
            await store.aclose()

        asyncio.run(change())

    await between(filled, lambda: KINDS[action](filled), other)
    assert (await actions(filled))[-2:] == ["user.add", action]
    assert (await filled.audit.verify()).broken is None


# A change that cannot be entered is not made


@each_kind
@pytest.mark.parametrize("spoiled", [LOG, BOUNDS])
@pytest.mark.parametrize("value", ["text", "set"])
async def test_what_is_no_log_lets_nothing_be_changed(
    filled: Store, raw: Any, action: str, spoiled: str, value: str
) -> None:
    raw.delete(spoiled)
    if value == "set":
        raw.sadd(spoiled, "x")
    else:
        raw.set(spoiled, "x")
    before = {name: raw.dump(name) for name in raw.keys("*")}
    with pytest.raises(StoreUnavailable):
        await KINDS[action](filled)
    assert {name: raw.dump(name) for name in raw.keys("*")} == before


@pytest.fixture
def full(filled: Store, raw: Any) -> Iterator[None]:
    raw.config_set("maxmemory", "1")
    yield
    raw.config_set("maxmemory", "0")


@each_kind
async def test_a_full_server_takes_deletions_with_their_entries_and_nothing_else(
    filled: Store, full: None, raw: Any, action: str
) -> None:
    before = {name: raw.dump(name) for name in raw.keys("*")}
    if action.endswith(".delete"):
        await KINDS[action](filled)
        assert (await actions(filled))[-1] == action
    else:
        with pytest.raises(StoreUnavailable):
            await KINDS[action](filled)
        assert {name: raw.dump(name) for name in raw.keys("*")} == before
    assert (await filled.audit.verify()).broken is None


async def test_a_record_that_nobody_can_read_can_be_deleted(store: Store, raw: Any) -> None:
    for record in (key(1), key(2)):
        await store.keys.create(record, now=NOW)
    raw.set(layout.key_record(TAG, key(1).id), "x")
    raw.delete(layout.key_record(TAG, key(2).id))
    raw.sadd(layout.key_record(TAG, key(2).id), "x")
    for record in (key(1), key(2)):
        await store.keys.delete(record.id)
    assert raw.keys(layout.key_record(TAG, "*")) == []
    assert (await actions(store))[-1] == "key.delete"


async def test_a_deletion_that_is_sent_again_is_the_same_deletion(store: Store, raw: Any) -> None:
    await store.keys.create(key(), now=NOW)
    before = raw.get(BOUNDS)
    await store.keys.delete(key().id)
    after, [*_, line] = raw.get(BOUNDS), raw.lrange(LOG, 0, -1)
    source = Path(layout.__file__).with_name("lua").joinpath("delete_record.lua").read_text()
    record = layout.key_record(TAG, key().id)
    names = (record, record, layout.key_index(TAG), LOG, BOUNDS)
    assert raw.eval(source, 5, *names, key().id, "", "", before, after, "", line) == [b"deleted"]
    assert raw.eval(source, 5, *names, key().id, "", "", before, b"else", "", line) == [b"moved"]
    assert len(raw.lrange(LOG, 0, -1)) == 2


@pytest.mark.parametrize("script", ["create_key", "delete_record"])
def test_a_script_does_nothing_where_the_log_has_become_no_list(raw: Any, script: str) -> None:
    """After the end of the log was read, when nothing was wrong yet."""
    source = Path(layout.__file__).with_name("lua").joinpath(f"{script}.lua").read_text()
    raw.set(LOG, "no list")
    record, index = layout.key_record(TAG, key(1).id), layout.key_index(TAG)
    if script == "create_key":
        names: tuple[str, ...] = (
            *(record, index, layout.flags(TAG), layout.settings(TAG), layout.expiries(TAG), record),
            *(LOG, BOUNDS),
        )
        arguments: tuple[Any, ...] = (
            *(key(1).id, "{}", 0, "", "", 10, "", "", 1),
            *("", "bounds", "", "entry"),
        )
    else:
        raw.set(record, "{}")
        names = (record, record, index, LOG, BOUNDS)
        arguments = (key(1).id, "", "", "", "bounds", "", "entry")
    before = {name: raw.dump(name) for name in raw.keys("*")}
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        raw.eval(source, len(names), *names, *arguments)
    assert {name: raw.dump(name) for name in raw.keys("*")} == before


# Retention, and reading


async def test_the_oldest_go_and_the_anchor_follows(store_url: str, raw: Any) -> None:
    store = Store.at(store_url, audit_retention=3)
    kept: list[bytes] = []
    for number in range(6):
        await store.keys.create(key(number), now=NOW)
        kept = [*kept, raw.lindex(LOG, -1)]
        assert raw.lrange(LOG, 0, -1) == kept[-3:]
        assert (await store.audit.verify()).broken is None
    assert bounds(raw) == Bounds(link(parse(kept[2])), link(parse(kept[5])))
    await store.users.put([user(f"u{number}") for number in range(5)])
    await store.keys.delete(key(0).id)
    assert raw.llen(LOG) == 3
    assert (await store.audit.verify()).broken is None
    await store.aclose()


async def test_less_retention_takes_effect_with_the_next_change(
    store: Store, store_url: str, raw: Any
) -> None:
    for number in range(6):
        await store.keys.create(key(number), now=NOW)
    smaller = Store.at(store_url, audit_retention=2)
    await smaller.keys.delete(key(0).id)
    assert raw.llen(LOG) == 2
    found = await smaller.audit.verify()
    await smaller.aclose()
    assert (found.broken, found.reached.sequence) == (None, 7)


@pytest.mark.parametrize(
    ("tamper", "sequence"),
    [
        (lambda raw: raw.ltrim(LOG, 1, -1), 1),
        (lambda raw: raw.ltrim(LOG, 0, -2), 6),
        (lambda raw: raw.lset(LOG, 2, b"x"), 3),
        (lambda raw: raw.lset(LOG, 2, raw.lindex(LOG, 2).replace(b"system", b"nobody")), 3),
        (lambda raw: raw.lset(LOG, 3, raw.lindex(LOG, 2)), 4),
        (lambda raw: raw.rpush(LOG, raw.lindex(LOG, 0)), 7),
        (lambda raw: raw.delete(BOUNDS), 1),
        (lambda raw: raw.delete(LOG), 1),
    ],
    ids=["oldest", "newest", "garbage", "changed", "doubled", "added", "no bounds", "no log"],
)
async def test_whoever_tampers_is_found_out_also_after_other_changes(
    store: Store, raw: Any, monkeypatch: pytest.MonkeyPatch, tamper: Callable[[Any], None], sequence: int
) -> None:
    monkeypatch.setattr(audit, "PAGE", 2)
    for number in range(6):
        await store.keys.create(key(number), now=NOW)
    tamper(raw)
    broken = (await store.audit.verify()).broken
    assert broken is not None
    assert broken.sequence == sequence
    await store.keys.delete(key(0).id)
    assert (await store.audit.verify()).broken is not None


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
async def test_both_ways_of_reading_have_each_entry_once(
    store_url: str, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Also where a change comes after each entry that was read."""
    monkeypatch.setattr(audit, "PAGE", 2)
    store = Store.at(store_url, audit_retention=5)
    for number in range(count):
        await store.keys.create(key(number), now=NOW)
    newest = count
    backwards = []
    async for line in store.audit.backwards():
        backwards.append(parse(line)["sequence"])
        newest += 1
        await store.keys.create(key(newest), now=NOW)
    kept = range(max(1, count - 4), count + 1)
    assert backwards == list(reversed(kept))[: len(backwards)], "some may have gone meanwhile"
    assert len(backwards) >= min(2, count)
    forwards = []
    async for line in store.audit.forwards():
        forwards.append(parse(line)["sequence"])
        if len(forwards) < 4:
            newest += 1
            await store.keys.create(key(newest), now=NOW)
    assert forwards == list(range(forwards[0], newest + 1))
    assert (await store.audit.verify()).broken is None
    await store.aclose()


async def test_each_tenant_has_its_own_log(store: Store, store_url: str) -> None:
    other = Store.at(store_url, Tenant(id="other", tag="0a1"))
    await other.users.add(user("kim"))
    assert await actions(store) == []
    assert await actions(other) == ["user.add"]
    await other.aclose()


# Who decides is not bothered


@pytest.fixture
async def reading(store: Store) -> AsyncIterator[Any]:
    live = store.live_access()
    live.start()
    async with asyncio.timeout(DEADLINE):
        while not live.live:  # noqa: ASYNC110 -- nobody else tells
            await asyncio.sleep(0.01)
    yield live
    await live.stop()


def test_names_of_the_log_are_of_a_kind_of_their_own() -> None:
    for name in (LOG, BOUNDS):
        part = layout.parse(name.encode())
        assert part is not None
        assert (part.tag, part.kind) == (TAG, layout.AUDIT)


async def test_a_view_forgets_nothing_of_others_when_something_is_entered(store: Store, reading: Any) -> None:
    await store.keys.create(key(1), now=NOW)
    await store.keys.create(key(2), now=NOW)
    async with asyncio.timeout(DEADLINE):
        while reading.known_scope(text_of(key(1))) is NOT_KNOWN:
            await reading.scope(text_of(key(1)))
    scope = reading.known_scope(text_of(key(1)))
    await reading.scope(text_of(key(2)))
    for number in range(3, 20):
        await store.keys.create(key(number), now=NOW)
    await store.keys.change(key(2).id, lambda record: replace(record, enabled=False))
    async with asyncio.timeout(DEADLINE):
        while reading.known_scope(text_of(key(2))) is not NOT_KNOWN:  # noqa: ASYNC110 -- likewise
            await asyncio.sleep(0.01)
    assert reading.known_scope(text_of(key(1))) is scope


async def test_a_server_that_takes_no_writes_takes_no_change(store: Store, store_url: str, raw: Any) -> None:
    await store.keys.create(key(1), now=NOW)
    before = raw.dump(LOG)
    raw.config_set("min-replicas-to-write", "1")
    try:
        for change in (store.keys.delete(key(1).id), store.policies.set_flag(SCOPED_API, on=True)):
            with pytest.raises(StoreUnavailable):
                await change
    finally:
        raw.config_set("min-replicas-to-write", "0")
    assert raw.dump(LOG) == before
