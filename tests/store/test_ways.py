"""Every way to a server: whatever the store does works over it, and the live view hears of changes."""

from __future__ import annotations

import asyncio
import secrets
import traceback
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from conftest import find_free_port
from redisservers import Server, certificates, cluster, server, watched
from scopegate.core import keys
from scopegate.core.errors import ConfigurationError, StoreUnavailable
from scopegate.store import Store
from scopegate.store.location import Kind, Location, RedisOptions, locate
from scopegate.store.view import NOT_KNOWN
from store.facts import NOW, TAG, exercise, exercise_system, key, text_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from redisservers import Certificates
    from scopegate.core.keys import KeyText
    from scopegate.store.liveaccess import LiveAccess

PASSWORD = "s3cret/pa55:word"
IN_URL = "s3cret%2Fpa55%3Aword"


@dataclass(frozen=True)
class Ways:
    """Servers of one module, and the locations by which they can be reached."""

    plain: Server
    secured: Server
    certificates: Certificates
    locations: dict[str, Location]


@pytest.fixture(scope="module")
def ways(short_dir: Path) -> Iterator[Ways]:
    directory = short_dir / "ways"
    with ExitStack() as stack:
        socket = directory / "s"
        plain = stack.enter_context(
            server(directory / "plain", "--unixsocket", str(socket), password=PASSWORD)
        )
        with plain.client() as operator:
            operator.execute_command("ACL", "SETUSER", "kim", "on", f">{PASSWORD}", "~*", "&*", "+@all")
        made = certificates(directory / "certificates")
        secured = stack.enter_context(server(directory / "tls", tls=made))
        sentinels = stack.enter_context(watched(directory / "sentinels"))
        secured_sentinels = stack.enter_context(watched(directory / "tls-sentinels", tls=made))
        nodes = stack.enter_context(cluster(directory / "cluster", replicas=False))
        secured_nodes = stack.enter_context(cluster(directory / "tls-cluster", replicas=False, tls=made))
        at, tls = f"127.0.0.1:{plain.port}", f"127.0.0.1:{secured.port}"
        options = RedisOptions(ca=made.authority, certificate=made.client)
        yield Ways(
            plain,
            secured,
            made,
            {
                "TCP, default user": locate(f"redis://:{IN_URL}@{at}"),
                "TCP, user in the URL": locate(f"redis://kim:{IN_URL}@{at}/1"),
                "TCP, user in settings": locate(
                    f"redis://{at}", RedisOptions(username="kim", password=PASSWORD)
                ),
                "socket": locate(f"unix://kim:{IN_URL}@{socket}?db=2"),
                "TLS": locate(f"rediss://{tls}", options),
                "Sentinels": locate(sentinels.url),
                "Sentinels, TLS": locate(f"rediss{secured_sentinels.url.removeprefix('redis')}", options),
                "cluster": locate(nodes.url),
                "cluster, TLS": locate(f"rediss{secured_nodes.url.removeprefix('redis')}", options),
            },
        )


@asynccontextmanager
async def opened(where: Location) -> AsyncIterator[Store]:
    store = Store.at(where)
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def listening(store: Store) -> AsyncIterator[LiveAccess]:
    live = store.live_access()
    live.start()
    try:
        await until(lambda: live.live)
        yield live
    finally:
        await live.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- the server tells nobody else
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "name",
    [
        "TCP, default user",
        "TCP, user in the URL",
        "TCP, user in settings",
        "socket",
        "TLS",
        "Sentinels",
        "Sentinels, TLS",
        "cluster",
        "cluster, TLS",
    ],
)
async def test_all_that_the_store_does_works_and_changes_are_heard(ways: Ways, name: str) -> None:
    where = ways.locations[name]
    async with opened(where) as store, opened(where) as other, listening(store) as live:
        await exercise(store)
        record = key(7, id=keys.mint(TAG, secrets.choice).id)
        await store.keys.create(record, now=NOW)
        await until(lambda: live.live)
        while live.known_scope(text_of(record)) is NOT_KNOWN:
            found = await live.scope(text_of(record))
            assert found is not None
            await asyncio.sleep(0)
        await other.keys.change(record.id, lambda one: replace(one, enabled=False))
        async with asyncio.timeout(20):
            while (found := await live.scope(text_of(record))) is None or found.record.enabled:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert live.live
        for one in await store.keys.all(now=NOW):
            await store.keys.delete(one.id)


async def test_sentinels_and_a_cluster_of_valkey_work_too(tmp_path: Path) -> None:
    with (
        watched(tmp_path / "sentinels", "valkey") as sentinels,
        cluster(tmp_path / "cluster", replicas=False, program="valkey") as nodes,
    ):
        for url in (sentinels.url, nodes.url):
            async with opened(locate(url)) as store, listening(store):
                await exercise(store)
                await exercise_system(store)


# What is refused, and how it is told


async def refusal(where: Location) -> StoreUnavailable:
    async with opened(where) as store:
        with pytest.raises(StoreUnavailable) as refused:
            await store.keys.get(key().id)
    assert PASSWORD not in "".join(traceback.format_exception(refused.value))
    return refused.value


async def test_wrong_missing_and_weak_users_are_told_to_look_at_the_acl(ways: Ways) -> None:
    at = f"127.0.0.1:{ways.plain.port}"
    with ways.plain.client() as operator:
        operator.execute_command("ACL", "SETUSER", "weak", "on", f">{PASSWORD}", "+info", "+client", "~sg:*")
    for options in (
        RedisOptions(),
        RedisOptions(password="wrong"),
        RedisOptions(username="nobody", password=PASSWORD),
        RedisOptions(username="weak", password=PASSWORD),
    ):
        error = await refusal(locate(f"redis://{at}", options))
        assert "refuses us" in error.message
        assert "password" in str(error.hint)
        assert "ACL" in str(error.hint)


async def test_a_server_by_another_authority_is_not_trusted(ways: Ways, tmp_path: Path) -> None:
    others = certificates(tmp_path / "others")
    tls = f"rediss://127.0.0.1:{ways.secured.port}"
    for options in (
        RedisOptions(certificate=ways.certificates.client),
        RedisOptions(ca=others.authority, certificate=ways.certificates.client),
        RedisOptions(ca=ways.certificates.authority),
        RedisOptions(ca=ways.certificates.authority, certificate=others.client),
    ):
        await refusal(locate(tls, options))
    # The certificate names 127.0.0.1 and localhost, and no other of the machine's addresses.
    await refusal(
        locate(
            f"rediss://127.0.0.2:{ways.secured.port}",
            RedisOptions(ca=ways.certificates.authority, certificate=ways.certificates.client),
        )
    )


def test_files_that_hold_no_certificate_are_refused_at_the_start(ways: Ways, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for options, setting in (
        (RedisOptions(ca=empty), "redis_ca"),
        (RedisOptions(ca=tmp_path / "none"), "redis_ca"),
        (RedisOptions(certificate=empty), "redis_certificate"),
        (RedisOptions(certificate=ways.certificates.authority), "redis_certificate"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            Store.at(locate("rediss://h", options))
        assert refused.value.setting == setting
        assert refused.value.hint


async def test_one_node_of_a_cluster_is_not_the_cluster(ways: Ways) -> None:
    nodes = ways.locations["cluster"]
    errors = []
    for node in nodes.servers:
        async with opened(replace(nodes, kind=Kind.SERVER, servers=(node,))) as store:
            try:
                await store.access.scope(text_of(key()))
            except StoreUnavailable as error:
                errors.append(error)
    assert len(errors) == 2
    assert all("redis+cluster://" in str(error.hint) for error in errors)


async def test_sentinels_that_do_not_know_the_service_name_no_server(ways: Ways) -> None:
    error = await refusal(replace(ways.locations["Sentinels"], service="other"))
    assert "No Redis server is in charge" in error.message
    assert "Sentinels" in str(error.hint)


async def test_a_replica_without_its_primary_is_not_read(tmp_path: Path) -> None:
    with server(tmp_path / "replica", "--replicaof", f"127.0.0.1 {find_free_port()}") as one:
        error = await refusal(locate(f"redis://127.0.0.1:{one.port}"))
    assert "replica" in error.message
    assert "sentinel" in str(error.hint)


async def test_a_replica_is_read_and_listened_to_while_it_has_its_primary(tmp_path: Path) -> None:
    with watched(tmp_path) as servers:
        primary, replica = (
            locate(f"redis://127.0.0.1:{one.port}") for one in (servers.master, servers.replica)
        )
        async with opened(primary) as store, opened(replica) as other, listening(other) as live:
            record = key()
            await store.keys.create(record, now=NOW)
            async with asyncio.timeout(20):
                while live.known_scope(text_of(record)) in (None, NOT_KNOWN):
                    await live.scope(text_of(record))
            with pytest.raises(StoreUnavailable, match="takes no changes"):
                await other.keys.delete(record.id)
            for sentinel in servers.sentinels:
                sentinel.kill()
            servers.master.kill()
            await until(lambda: not live.live)
            with pytest.raises(StoreUnavailable, match="out of date"):
                await reading(other, text_of(record))


async def reading(store: Store, text: KeyText) -> None:
    """Read a key until that fails."""
    async with asyncio.timeout(20):
        while True:
            await store.access.scope(text)
            await asyncio.sleep(0.01)


async def test_a_server_that_becomes_a_replica_is_no_longer_read_nor_listened_to(tmp_path: Path) -> None:
    """Its connections stay open; whatever address names it may have moved to another."""
    with server(tmp_path / "one") as one, one.client() as operator:
        async with opened(locate(f"redis://127.0.0.1:{one.port}")) as store, listening(store) as live:
            record = key()
            await store.keys.create(record, now=NOW)
            assert await live.scope(text_of(record)) is not None
            operator.replicaof("127.0.0.1", find_free_port())
            await until(lambda: not live.live)
            with pytest.raises(StoreUnavailable, match="replica"):
                await reading(store, text_of(record))
            operator.replicaof("NO", "ONE")
            await until(lambda: live.live)
            assert await live.scope(text_of(record)) is not None
