"""What is open when its key or its user loses what it was let in for is ended, and nothing else is."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.commands import Commands
from scopegate.core.catalogue import Endpoint
from scopegate.core.keys import KeyRecord, KeyType, Rule
from scopegate.core.policies import Policies
from scopegate.core.principal import User
from scopegate.store import Store, layout
from wire.conftest import create_key
from wire.frames import BINARY, CLOSE, TEXT, frame, handshake, read_frame, switching
from wire.servers import ok, request
from wire.wires import Cut, Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from wire.servers import Server, Servers
    from wire.wires import Upstream, Wire

SERVERS = ["own", "granian", "uvicorn", "uvicorn-h11"]
EVERY_SERVER = pytest.mark.parametrize("server", SERVERS, indirect=True)
OWN = pytest.mark.parametrize("server", ["own"], indirect=True)
_HEAD = b"HTTP/1.1 200 OK\r\n"


class Administrator:
    """Changes what a key opens while it is in use."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self.key = b""
        self.id = ""

    def do(self, work: Callable[[Store], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            store = Store.at(self._redis_url)
            try:
                return await work(store)
            finally:
                await store.aclose()

        return asyncio.run(run())

    def create(self, **facts: Any) -> None:
        async def create(store: Store) -> None:
            facts.setdefault("key_type", KeyType.EXTERNAL)
            created = await Commands(store).create_key(description="Is withdrawn", **facts)
            self.key, self.id = created.new_secret.encode(), created.record.id

        self.do(create)

    def create_for_user(self) -> None:
        async def prepare(store: Store) -> None:
            await Commands(store).set_scoped_api(on=True)
            await store.policies.put(_POLICIES)
            await store.users.put([_MARIA])

        self.do(prepare)
        self.create(key_type=KeyType.CUSTOM, rules=[Rule("GET", "/*")], user="maria")

    def disable(self) -> None:
        self.do(lambda store: Commands(store).set_enabled(self.id, enabled=False))


_MARIA = User(id="maria", name="Maria", roles=frozenset({"agent"}))
_POLICIES = Policies(
    endpoints=(Endpoint(frozenset({"GET"}), "/*", frozenset({"view"})),),
    roles={"agent": frozenset({"view"}), "idle": frozenset()},
    groups={},
)


@pytest.fixture
def admin(servers: Servers) -> Administrator:
    return Administrator(servers.redis_url)


@pytest.fixture
def streaming(server: Server, upstream: Upstream, admin: Administrator) -> Iterator[tuple[Wire, Wire]]:
    """A client and an upstream in the middle of an answer, by a key bound to a user."""
    admin.create_for_user()
    with server.connect() as client:
        yield client, stream(client, upstream, admin.key)


def stream(client: Wire, upstream: Upstream, key: bytes, target: bytes = b"/events") -> Wire:
    client.send(request(target=target, key=key))
    peer = upstream.called()
    peer.request()
    peer.send(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
    assert client.head().status == 200
    assert client.chunk() == b"first"
    return peer


def opened(client: Wire, upstream: Upstream, key: bytes) -> Wire:
    client.send(handshake(key=key))
    peer = upstream.called()
    peer.send(switching(peer.head()))
    assert client.head().status == 101
    return peer


def code_of(answer: Message) -> str:
    code: str = json.loads(answer.body)["code"]
    return code


# Each state in which a request can be


@EVERY_SERVER
def test_an_event_stream_is_cut_off(server: Server, upstream: Upstream, admin: Administrator) -> None:
    admin.create()
    with server.connect() as client:
        peer = stream(client, upstream, admin.key)
        admin.disable()
        with pytest.raises(Cut):
            client.chunk()
        assert peer.is_over()


@EVERY_SERVER
def test_a_download_is_cut_off(server: Server, upstream: Upstream, admin: Administrator) -> None:
    admin.create()
    with server.connect() as client:
        client.send(request(key=admin.key))
        peer = upstream.called()
        peer.request()
        peer.send(_HEAD + b"Content-Length: 100\r\n\r\n" + b"a" * 50)
        head = client.head()
        assert client.read(50) == b"a" * 50
        admin.disable()
        with pytest.raises(Cut):
            client.read(50)
        assert head.status == 200
        assert peer.is_over()


@OWN
def test_a_download_to_the_end_of_the_connection_does_not_look_whole(
    server: Server, upstream: Upstream, admin: Administrator
) -> None:
    admin.create()
    with server.connect() as client:
        client.send(request(key=admin.key, version=b"1.0"))
        peer = upstream.called()
        peer.request()
        peer.send(_HEAD + b"Connection: close\r\n\r\nhalf")
        head = client.head()
        assert client.read(4) == b"half"
        admin.disable()
        with pytest.raises(Cut):
            client.with_body(head, to_the_end=True)


@EVERY_SERVER
def test_a_request_that_waits_for_its_answer_is_refused(
    server: Server, upstream: Upstream, admin: Administrator
) -> None:
    admin.create()
    with server.connect() as client:
        client.send(request(key=admin.key))
        peer = upstream.called()
        peer.request()
        admin.disable()
        answer = client.answer()
        assert (answer.status, code_of(answer)) == (401, "key_disabled")
        assert peer.is_over()


@EVERY_SERVER
def test_an_upload_is_refused(server: Server, upstream: Upstream, admin: Administrator) -> None:
    admin.create()
    with server.connect() as client:
        client.send(request(b"POST", b"/", b"Content-Length: 100", key=admin.key) + b"a" * 50)
        peer = upstream.called()
        peer.head()
        assert peer.read(50) == b"a" * 50
        admin.disable()
        answer = client.answer()
        assert (answer.status, code_of(answer)) == (401, "key_disabled")
        assert peer.is_over()


@EVERY_SERVER
def test_a_websocket_is_closed_with_the_reason(
    server: Server, upstream: Upstream, admin: Administrator
) -> None:
    admin.create()
    with server.connect() as client:
        peer = opened(client, upstream, admin.key)
        peer.send(frame(TEXT, b"hello", masked=False))
        assert read_frame(client).payload == b"hello"
        client.send(frame(TEXT, b"hello yourself"))
        assert read_frame(peer).payload == b"hello yourself"
        admin.disable()
        close = read_frame(client)
        assert (close.opcode, close.payload) == (CLOSE, (1008).to_bytes(2, "big") + b"key_disabled")
        client.send(frame(CLOSE, close.payload[:2]))
        assert client.is_over()
        peer.whatever()  # it may or may not be told before it is cut off


@OWN
def test_a_websocket_is_closed_between_two_frames(
    server: Server, upstream: Upstream, admin: Administrator
) -> None:
    """In pieces that end anywhere, frames are whole when the close comes, and nothing follows it."""
    admin.create()
    with server.connect() as client:
        peer = opened(client, upstream, admin.key)
        for payload in (b"", b"a" * 125, b"b" * 126, b"c" * 70_000):
            data = frame(BINARY, payload, masked=False)
            peer.send(data[:1], data[1:3], data[3:9], data[9:])
            assert read_frame(client).payload == payload
            data = frame(BINARY, payload)
            client.send(data[:1], data[1:3], data[3:9], data[9:])
            assert read_frame(peer).payload == payload
        admin.disable()
        assert read_frame(client).opcode == CLOSE
        told = read_frame(peer)
        assert (told.opcode, told.payload) == (CLOSE, (1001).to_bytes(2, "big"))
        client.send(frame(TEXT, b"too late"))
        peer.send_what_is_taken(frame(TEXT, b"too late", masked=False))
        assert client.is_over()
        assert peer.is_over()


@OWN
@pytest.mark.parametrize("part", [1, 3, 60])
def test_a_websocket_in_the_middle_of_a_frame_is_cut_off(
    server: Server, upstream: Upstream, admin: Administrator, part: int
) -> None:
    admin.create()
    with server.connect() as client:
        peer = opened(client, upstream, admin.key)
        data = frame(BINARY, b"a" * 200, masked=False)[:part]
        peer.send(data)
        assert client.read(part) == data
        admin.disable()
        assert client.is_over()


@OWN
def test_a_client_that_takes_nothing_is_cut_off(
    server: Server, upstream: Upstream, admin: Administrator
) -> None:
    admin.create()
    with server.connect(receive_buffer=4_096) as client:
        peer = stream(client, upstream, admin.key)
        peer.send_while_taken(b"%x\r\n" % (16 << 20) + b"a" * (16 << 20))
        admin.disable()
        assert peer.is_over()
        assert len(client.whatever()) < 1 << 20


# Each change


def by_hand(kind: str) -> Callable[[Store, str], Awaitable[Any]]:
    async def change(store: Store, key_id: str) -> None:
        name = layout.key_record("000", key_id)
        if kind == "delete":
            await store._redis.step("000", lambda redis: redis.delete(name))
        elif kind == "expire":
            await store._redis.step("000", lambda redis: redis.pexpire(name, 1))
        elif kind == "garbage":
            await store._redis.step("000", lambda redis: redis.set(name, b"{}"))
        else:
            await store._redis.step("000", lambda redis: redis.flushall())

    return change


def edited(**changes: Any) -> Callable[[Store, str], Awaitable[Any]]:
    return lambda store, key_id: store.keys.change(key_id, lambda record: replace(record, **changes))


def moved(record: KeyRecord) -> KeyRecord:
    return replace(record, user="nobody")


CHANGES: dict[str, Callable[[Store, str], Awaitable[Any]]] = {
    "disabled": lambda store, key_id: Commands(store).set_enabled(key_id, enabled=False),
    "deleted": lambda store, key_id: Commands(store).delete_key(key_id),
    "expired by an edit": edited(expires_at=datetime(2020, 1, 1, tzinfo=UTC)),
    "other rules": edited(rules=(Rule("GET", "/other"),)),
    "other methods": edited(rules=(Rule("POST", "/*"),)),
    "another secret": edited(digest="0" * 64),
    "another user": lambda store, key_id: store.keys.change(key_id, moved),
    "user deactivated": lambda store, _: Commands(store).set_active("maria", active=False),
    "role taken": lambda store, _: Commands(store).remove_roles("maria", ["agent"]),
    "user deleted": lambda store, _: Commands(store).delete_user("maria"),
    "role emptied": lambda store, _: store.policies.put(replace(_POLICIES, roles={"agent": frozenset()})),
    "endpoint unlisted": lambda store, _: store.policies.put(replace(_POLICIES, endpoints=())),
    "record deleted by hand": by_hand("delete"),
    "record expired by hand": by_hand("expire"),
    "record spoiled by hand": by_hand("garbage"),
    "everything flushed": by_hand("flush"),
}


@OWN
@pytest.mark.parametrize("change", list(CHANGES))
def test_every_change_that_takes_the_right_ends_the_stream(
    streaming: tuple[Wire, Wire], admin: Administrator, servers: Servers, change: str
) -> None:
    client, peer = streaming
    admin.do(lambda store: CHANGES[change](store, admin.id))
    if change == "everything flushed":
        asyncio.run(create_key(servers.redis_url))
    with pytest.raises(Cut):
        client.chunk()
    assert peer.is_over()


@OWN
def test_a_stream_ends_when_its_key_expires(server: Server, upstream: Upstream, admin: Administrator) -> None:
    admin.create(expires_at=datetime.now(UTC) + timedelta(seconds=1.5))
    with server.connect() as client:
        peer = stream(client, upstream, admin.key)
        with pytest.raises(Cut):
            client.chunk()
        assert peer.is_over()


@pytest.mark.parametrize("server", ["own", "uvicorn"], indirect=True)
def test_a_stream_on_the_old_secret_ends_with_the_overlap(
    server: Server, upstream: Upstream, admin: Administrator
) -> None:
    admin.create()
    with server.connect() as by_old, server.connect() as by_new:
        old_peer = stream(by_old, upstream, admin.key)
        overlap = timedelta(seconds=3)
        issued = admin.do(lambda store: Commands(store).rotate_key(admin.id, overlap=overlap))
        old_peer.send(b"4\r\nmore\r\n")
        assert by_old.chunk() == b"more"
        with pytest.raises(Cut):
            by_old.chunk()
        assert datetime.now(UTC) >= issued.record.retiring.until
        assert old_peer.is_over()
        new_peer = stream(by_new, upstream, issued.new_secret.encode())
        new_peer.send(b"4\r\nmore\r\n")
        assert by_new.chunk() == b"more"


@OWN
def test_a_request_on_the_old_secret_that_waits_is_answered_like_a_wrong_one(
    server: Server, upstream: Upstream, admin: Administrator
) -> None:
    admin.create()
    with server.connect() as client:
        client.send(request(key=admin.key))
        upstream.called().request()
        admin.do(lambda store: Commands(store).rotate_key(admin.id, overlap=timedelta(0)))
        answer = client.answer()
        assert (answer.status, code_of(answer)) == (401, "key_invalid")


@OWN
def test_a_key_that_got_a_user_meanwhile_ends_with_that_user(
    streaming: tuple[Wire, Wire], admin: Administrator
) -> None:
    client, peer = streaming
    kim = User(id="kim", name="Kim", roles=frozenset({"agent"}))
    admin.do(lambda store: store.users.put([kim]))
    admin.do(lambda store: store.keys.change(admin.id, lambda record: replace(record, user="kim")))
    admin.do(lambda store: Commands(store).set_active("maria", active=False))
    peer.send(b"4\r\nmore\r\n")
    assert client.chunk() == b"more"
    admin.do(lambda store: Commands(store).set_active("kim", active=False))
    with pytest.raises(Cut):
        client.chunk()


KEPT: dict[str, Callable[[Store, str], Awaitable[Any]]] = {
    "another description": edited(description="Another"),
    "more rules": edited(rules=(Rule("POST", "/x"), Rule("GET", "/events"))),
    "a later expiry": edited(expires_at=datetime(2090, 1, 1, tzinfo=UTC)),
    "another role": lambda store, _: Commands(store).add_roles("maria", ["idle"]),
    "another user's end": lambda store, _: store.users.put([User(id="kim", name="Kim", active=False)]),
    "other policies": lambda store, _: store.policies.put(replace(_POLICIES, groups={"g": frozenset()})),
    "the flag": lambda store, _: Commands(store).set_scoped_api(on=False),
}


@OWN
@pytest.mark.parametrize("change", list(KEPT))
def test_what_is_still_allowed_goes_on(
    server: Server, streaming: tuple[Wire, Wire], upstream: Upstream, admin: Administrator, change: str
) -> None:
    client, peer = streaming
    other = Administrator(admin._redis_url)
    other.create()
    with server.connect() as second:
        end = stream(second, upstream, other.key)
        admin.do(lambda store: KEPT[change](store, admin.id))
        other.disable()  # told behind the change, so that is heard when this one ends
        with pytest.raises(Cut):
            second.chunk()
        assert end.is_over()
    peer.send(b"4\r\nmore\r\n0\r\n\r\n")
    assert client.chunk() == b"more"
    assert client.chunk() == b""


@OWN
def test_the_next_request_of_the_connection_is_not_ended_for_the_one_before(
    server: Server, upstream: Upstream, admin: Administrator
) -> None:
    other = Administrator(admin._redis_url)
    admin.create()
    other.create()
    with server.connect() as client:
        client.send(request(key=admin.key))
        peer = upstream.called()
        peer.request()
        peer.send(ok())
        assert client.answer().status == 200
        peer = stream(client, upstream, other.key)
        admin.disable()
        peer.send(b"4\r\nmore\r\n")
        assert client.chunk() == b"more"
        other.disable()
        with pytest.raises(Cut):
            client.chunk()


@OWN
def test_all_streams_of_a_key_end_at_once(server: Server, upstream: Upstream, admin: Administrator) -> None:
    admin.create()
    clients = [server.connect() for _ in range(100)]
    peers = [stream(client, upstream, admin.key) for client in clients]
    admin.disable()
    for client, peer in zip(clients, peers, strict=True):
        with pytest.raises(Cut):
            client.chunk()
        assert peer.is_over()
        client.close()
