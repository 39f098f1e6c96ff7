"""The way to the server: URLs, servers that are not there, and what errors may say."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from scopegate.core.errors import ConfigurationError, StoreUnavailable
from scopegate.core.principal import Group
from scopegate.core.tenants import SCOPED_API
from scopegate.core.usersearch import UserSearch
from scopegate.store import Store, connection
from scopegate.store.location import locate
from store.facts import (
    IDEMPOTENCY,
    NOW,
    POLICIES,
    TAG,
    admin_token,
    administrator,
    batch,
    bootstrap_token,
    each,
    key,
    text_of,
    user,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PASSWORD = "s3cret-pa55word"
LONGER_THAN_ANY_TIMEOUT = 5.0  # seconds; so that an operation without one fails

GROUP = Group(id="wien", name="Wien")
Operation = Callable[[Store], Awaitable[object]]
OPERATIONS: dict[str, Operation] = {
    "require_reachable": lambda store: store.require_reachable(),
    "writes_no_log": lambda store: store.writes_no_log(),
    "sweep": lambda store: store.sweep(NOW),
    "keys.create": lambda store: store.keys.create(key(), now=NOW),
    "keys.get": lambda store: store.keys.get(key().id),
    "keys.issuance": lambda store: store.keys.issuance(IDEMPOTENCY),
    "keys.counted": lambda store: store.keys.counted(now=NOW),
    "keys.all": lambda store: store.keys.all(now=NOW),
    "keys.users": lambda store: store.keys.users(now=NOW),
    "keys.change": lambda store: store.keys.change(key().id, lambda record: record),
    "keys.delete": lambda store: store.keys.delete(key().id),
    "users.put": lambda store: store.users.put([user()]),
    "users.add": lambda store: store.users.add(user()),
    "users.delete": lambda store: store.users.delete("kim"),
    "users.get": lambda store: store.users.get("kim"),
    "users.all": lambda store: store.users.all(),
    "users.pages": lambda store: anext(store.users.pages()),
    "users.change": lambda store: store.users.change("kim", lambda one: one),
    "users.some": lambda store: store.users.some(["kim"]),
    "users.slice": lambda store: store.users.slice(0, 1),
    "users.records": lambda store: anext(store.users.records(1)),
    "users.put_each": lambda store: store.users.put_each(each(user())),
    "users.by_user_name": lambda store: store.users.by_user_name("kim"),
    "groups.all": lambda store: store.groups.all(),
    "groups.some": lambda store: store.groups.some(["wien"]),
    "groups.get": lambda store: store.groups.get("wien"),
    "groups.add": lambda store: store.groups.add(GROUP),
    "groups.change": lambda store: store.groups.change("wien", lambda one: one),
    "groups.delete": lambda store: store.groups.delete("wien"),
    "groups.members": lambda store: anext(store.groups.members("wien")),
    "groups.set_members": lambda store: store.groups.set_members("wien", add=["kim"]),
    "people.find": lambda store: store.people.find(UserSearch(), most=1),
    "people.ids": lambda store: store.people.ids(UserSearch()),
    "people.people": lambda store: store.people.people(),
    "audit.reached": lambda store: store.audit.reached(),
    "audit.behind": lambda store: store.audit.behind(0, most=1),
    "policies.get": lambda store: store.policies.get(),
    "policies.put": lambda store: store.policies.put(POLICIES),
    "policies.flag": lambda store: store.policies.flag(SCOPED_API),
    "policies.set_flag": lambda store: store.policies.set_flag(SCOPED_API, on=True),
    "settings.get": lambda store: store.settings.get(),
    "settings.settled": lambda store: store.settings.settled(),
    "settings.change": lambda store: store.settings.change(lambda one: one),
    "audit.verify": lambda store: store.audit.verify(),
    "audit.forwards": lambda store: anext(store.audit.forwards()),
    "audit.backwards": lambda store: anext(store.audit.backwards()),
    "tenants.all": lambda store: store.system.tenants.all(),
    "tenants.get": lambda store: store.system.tenants.get("acme"),
    "tenants.count": lambda store: store.system.tenants.count([store.tenant], now=NOW),
    "tenants.create": lambda store: store.system.tenants.create(lambda _taken: store.tenant),
    "tenants.change": lambda store: store.system.tenants.change("default", lambda one: one),
    "administrators.all": lambda store: store.system.administrators.all(),
    "administrators.get": lambda store: store.system.administrators.get("maria"),
    "administrators.create": lambda store: store.system.administrators.create(administrator()),
    "administrators.change": lambda store: store.system.administrators.change("maria", lambda one: one),
    "administrators.delete": lambda store: store.system.administrators.delete("maria"),
    "tokens.find": lambda store: store.system.tokens.find(admin_token().id),
    "tokens.standing": lambda store: store.system.tokens.standing(admin_token()),
    "tokens.used": lambda store: store.system.tokens.used(admin_token(), NOW),
    "tokens.all": lambda store: store.system.tokens.all(now=NOW),
    "tokens.create": lambda store: store.system.tokens.create(admin_token()),
    "tokens.revoke": lambda store: store.system.tokens.revoke(admin_token().id),
    "tokens.offer_bootstrap": lambda store: store.system.tokens.offer_bootstrap(bootstrap_token()),
    "tokens.bootstrap": lambda store: store.system.tokens.bootstrap(
        bootstrap_token().digest, administrator(), admin_token(), now=NOW
    ),
    "usage.last_uses": lambda store: store.usage.last_uses([key()], now=NOW),
    "usage.of_key": lambda store: store.usage.of_key(key().id, NOW.date(), NOW.date()),
    "usage.missed": lambda store: store.usage.missed(),
    "usage_writer.begin": lambda store: store.usage_writer.begin(0),
    "usage_writer.add": lambda store: store.usage_writer.add(batch(), 0),
    "access.scope": lambda store: store.access.scope(text_of(key())),
    "access.of_user": lambda store: store.access.of_user(TAG, "kim"),
}
# They ask nobody, so there is nobody who could fail to answer.
WITHOUT_STORE = {"access.known_scope", "access.known_user"}
each_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())


def test_every_operation_is_among_them() -> None:
    store = Store.at("redis://nowhere.invalid")
    parts = {
        "keys": store.keys,
        "users": store.users,
        "groups": store.groups,
        "people": store.people,
        "policies": store.policies,
        "settings": store.settings,
        "tenants": store.system.tenants,
        "administrators": store.system.administrators,
        "tokens": store.system.tokens,
        "audit": store.audit,
        "usage": store.usage,
        "usage_writer": store.usage_writer,
        "access": store.access,
    }
    public = {
        f"{name}.{method}"
        for name, part in parts.items()
        for method in dir(part)
        if not method.startswith("_")
    }
    assert public - WITHOUT_STORE | {"require_reachable", "writes_no_log", "sweep"} == OPERATIONS.keys()


async def refusal(url: str, operation: Operation) -> StoreUnavailable:
    store = Store.at(url)
    try:
        with pytest.raises(StoreUnavailable) as refused:
            await asyncio.wait_for(operation(store), LONGER_THAN_ANY_TIMEOUT)
    finally:
        await store.aclose()
    return refused.value


@each_operation
async def test_nobody_on_the_port_is_told_without_the_password(operation: Operation, free_port: int) -> None:
    error = await refusal(f"redis://scopegate:{PASSWORD}@127.0.0.1:{free_port}/0", operation)
    assert error.hint
    assert PASSWORD not in "".join(traceback.format_exception(error))


@each_operation
async def test_nobody_on_the_socket_is_told_without_the_password(
    operation: Operation, short_dir: Path
) -> None:
    error = await refusal(f"unix://scopegate:{PASSWORD}@{short_dir}/nobody.sock", operation)
    assert PASSWORD not in "".join(traceback.format_exception(error))


@each_operation
async def test_a_wrong_password_is_told_without_it(operation: Operation, store_url: str) -> None:
    error = await refusal(store_url.replace("unix://", f"unix://somebody:{PASSWORD}@"), operation)
    assert PASSWORD not in "".join(traceback.format_exception(error))


async def test_a_server_that_is_there_is_reachable(store: Store) -> None:
    await store.require_reachable()


@asynccontextmanager
async def server_that(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(closing, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


@each_operation
async def test_a_server_that_says_nothing_is_not_waited_for(
    operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass

    monkeypatch.setattr(connection, "COMMAND_TIMEOUT", 0.02)
    async with server_that(say_nothing) as url:
        await refusal(url, operation)


async def test_a_server_that_is_no_redis_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async def speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with server_that(speak_http) as url:
        await refusal(url, OPERATIONS["access.scope"])


@pytest.mark.parametrize(("version", "accepted"), [("6.2.14", False), ("7.0.0", True), ("10.1", True)])
async def test_a_server_older_than_redis_7_is_refused(version: str, *, accepted: bool) -> None:
    info = f"# Server\r\nredis_version:{version}\r\n".encode()
    role = b"# Replication\r\nrole:master\r\n"
    answers = {
        b"HELLO": b"%1\r\n$5\r\nproto\r\n:3\r\n",
        b"INFO server": b"$%d\r\n%s\r\n" % (len(info), info),
        b"INFO replication": b"$%d\r\n%s\r\n" % (len(role), role),
    }

    async def speak_redis(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while header := await reader.readline():
            command = []
            for _ in range(int(header[1:])):
                length = int((await reader.readline())[1:])
                command.append((await reader.readexactly(length + 2))[:-2])
            writer.write(answers.get(b" ".join(command), answers.get(command[0], b"+OK\r\n")))

    async with server_that(speak_redis) as url:
        if accepted:
            store = Store.at(url)
            await store.require_reachable()
            await store.aclose()
        else:
            error = await refusal(url, OPERATIONS["require_reachable"])
            assert version in error.message
            assert "Redis 7" in str(error.hint)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://localhost:6379",
        "valkey://localhost",
        f"redis://:{PASSWORD}/more@localhost:6379",
        f"redis://:{PASSWORD}#more@localhost:6379",
        f"redis://:{PASSWORD}\u2100@localhost:6379",
        f"redis://:{PASSWORD}@localhost:99999",
        f"redis://:{PASSWORD}@[::1:6379",
        f"redis://:{PASSWORD}@localhost?socket_timeout=soon",
        f"redis://:{PASSWORD}@localhost?no_such_option=1",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Store.at(url)
    assert refused.value.setting == "redis_url"
    assert refused.value.hint
    assert PASSWORD not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "url", ["redis://", "redis://u:p@h:1/2", "rediss://h", "unix:///run/redis.sock?db=3", "REDIS://h"]
)
def test_a_url_of_a_known_scheme_is_accepted(url: str) -> None:
    assert Store.at(url).tenant.tag == TAG


@pytest.mark.parametrize(
    ("url", "answer", "current"),
    [
        ("redis://h", b"# Replication\r\nrole:master\r\nconnected_slaves:0\r\n", True),
        ("redis+sentinel://h/main", b"# Replication\r\nrole:master\r\n", True),
        ("redis://h", b"role:slave\r\nmaster_host:x\r\nmaster_link_status:up\r\n", True),
        ("redis://h", b"role:slave\r\nmaster_host:x\r\nmaster_link_status:down\r\n", False),
        ("redis+sentinel://h/main", b"role:slave\r\nmaster_link_status:up\r\n", False),
        ("redis+cluster://h", b"role:slave\r\nmaster_link_status:up\r\n", False),
        ("redis://h", b"", False),
        ("redis://h", b"OK", False),
        ("redis://h", None, False),
    ],
)
def test_a_primary_is_up_to_date_and_a_replica_where_it_was_named_itself(
    url: str, answer: bytes | None, *, current: bool
) -> None:
    assert connection.Connector(locate(url)).tells_current(answer) is current
