"""docs/redis.md says what is so: the users that it describes can do all that is needed, and no more."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from redisservers import cluster, server, watched
from scopegate.core.errors import ConfigurationError
from scopegate.metrics import MetricsArea
from scopegate.store import Store, layout
from scopegate.store.location import RedisOptions, locate
from store.facts import TAG, batch, exercise, exercise_system, key, text_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scopegate.store.location import Location

PAGE = (Path(__file__).parents[2] / "docs" / "redis.md").read_text("utf-8")
PASSWORD = "made-up"
USERS = [re.split(" ", line) for line in re.findall(r"^ACL SETUSER (.*)$", PAGE, re.MULTILINE)]
SERVING, ADMINISTERING, WATCHING = USERS


def rules(user: list[str]) -> list[str]:
    return [word.replace("PASSWORD", PASSWORD) for word in user[1:]]


def granted(user: list[str]) -> set[str]:
    return {word[1:] for word in user if word.startswith("+")}


def location(url: str, user: list[str]) -> Location:
    return locate(url, RedisOptions(username=user[0], password=PASSWORD))


@pytest.fixture
async def users(raw: Any) -> AsyncIterator[None]:
    for name, *words in ([user[0], *rules(user)] for user in (SERVING, ADMINISTERING)):
        raw.execute_command("ACL", "SETUSER", name, *words)
    raw.config_resetstat()
    raw.script_flush()
    yield
    raw.acl_deluser(SERVING[0], ADMINISTERING[0])


def used(raw: Any) -> set[str]:
    return {name.removeprefix("cmdstat_") for name in raw.info("commandstats")}


async def test_what_the_command_line_needs_is_enough_and_not_more(
    store_url: str, users: None, raw: Any
) -> None:
    store = Store.at(location(store_url, ADMINISTERING), audit_retention=3)
    await exercise(store)
    await exercise_system(store)
    await store.aclose()
    assert granted(ADMINISTERING) <= used(raw)


async def test_what_a_gateway_needs_is_enough_and_not_more(
    store: Store, store_url: str, users: None, raw: Any
) -> None:
    await exercise(store)
    [record] = await store.keys.all(now=key().created_at)
    raw.config_resetstat()
    raw.script_flush()
    gateway = Store.at(location(store_url, SERVING))
    await gateway.require_reachable()
    metrics = MetricsArea(1).worker(0).store
    live, clock = gateway.live_access(metrics=metrics), gateway.clock_watch(metrics)
    live.start()
    clock.start()
    async with asyncio.timeout(10):
        while not live.live or not {"set", "time"} <= used(raw):  # noqa: ASYNC110 -- the server tells nobody else
            await asyncio.sleep(0)
    assert await live.scope(text_of(record)) is not None
    principal, _ = await live.of_user(TAG, "kim")
    assert principal is not None
    await gateway.usage_writer.begin(0)
    await gateway.usage_writer.add(batch(), 0)
    await live.stop()
    clock.stop()
    await gateway.aclose()
    assert granted(SERVING) <= used(raw)


@pytest.mark.parametrize(
    ("user", "command", "allowed"),
    [
        (SERVING, ("GET", layout.key_record(TAG, "x")), True),
        (SERVING, ("SET", layout.canary("x"), "x"), True),
        (SERVING, ("SET", layout.key_record(TAG, "x"), "x"), False),
        (SERVING, ("EVALSHA_RO", "x", "1", layout.key_record(TAG, "x")), True),
        (SERVING, ("ZADD", layout.last_uses(TAG), "1", "x"), True),
        (SERVING, ("ZADD", layout.key_index(TAG), "1", "x"), False),
        (SERVING, ("GET", "other:key"), False),
        (ADMINISTERING, ("SET", layout.key_record(TAG, "x"), "x"), True),
        (ADMINISTERING, ("HGET", "other:flags", "x"), False),
    ],
)
async def test_permissions_end_at_our_names(
    users: None, raw: Any, user: list[str], command: tuple[str, ...], *, allowed: bool
) -> None:
    assert (raw.acl_dryrun(user[0], *command) in {b"OK", "OK"}) is allowed


async def test_the_users_of_sentinels_and_clusters_have_what_they_need(tmp_path: Path) -> None:
    with watched(tmp_path / "sentinels") as watching, cluster(tmp_path / "cluster", replicas=False) as nodes:
        for sentinel in watching.sentinels:
            with sentinel.client() as operator:
                operator.execute_command("ACL", "SETUSER", WATCHING[0], *rules(WATCHING))
                operator.execute_command("ACL", "SETUSER", "default", "-@all", "+ping", "+sentinel", "+hello")
        for one in (watching.master, *nodes.masters):
            with one.client() as operator:
                operator.execute_command("ACL", "SETUSER", SERVING[0], *rules(SERVING), "+cluster|slots")
        options = RedisOptions(
            username=SERVING[0],
            password=PASSWORD,
            sentinel_username=WATCHING[0],
            sentinel_password=PASSWORD,
        )
        for where in (locate(watching.url, options), location(nodes.url, SERVING)):
            store = Store.at(where)
            assert await store.access.scope(text_of(key())) is None
            await store.aclose()


@pytest.mark.parametrize("program", ["redis", "valkey"])
def test_every_recommended_setting_is_one_of_the_server(tmp_path: Path, program: str) -> None:
    table = PAGE.split("## The servers' settings", 1)[1].split("\n\n")[1]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    settings = [found.split(" ", 1) for row in rows for found in re.findall("`([^`]+)`", row)]
    assert len(settings) >= 5
    options = [word for name, value in settings for word in (f"--{name}", value)]
    with server(tmp_path / "server", *options, program=program) as one, one.client() as operator:
        for name, value in settings:
            assert name in operator.config_get(name)
            if " " not in value:
                assert operator.config_get(name)[name] == value


def urls() -> list[str]:
    return [url for url in re.findall(r"`((?:rediss?|unix)[a-z+]*://[^`]*)`", PAGE) if "..." not in url]


@pytest.mark.parametrize("url", urls())
def test_every_url_of_the_page_is_one(url: str) -> None:
    try:
        locate(url)
    except ConfigurationError as error:
        pytest.fail(f"{url}: {error}")


def test_every_kind_of_url_is_on_the_page() -> None:
    kinds = {(locate(url).kind, locate(url).tls is not None) for url in urls()}
    assert len(kinds) >= 4
