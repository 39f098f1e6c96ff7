"""A gateway whose Redis is behind a faulty network, clients that call it all the time, and what they saw."""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import re
import secrets
import socket
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Event, Thread
from typing import TYPE_CHECKING

from benchmarks.memory import holder
from conftest import find_free_port
from e2e.gateways import serving, upstream_server
from e2e.processes import DEADLINE, wait_until
from faults.history import ALLOWED, Answer, Commit, Effect, Fault, History, Promise, violations
from faults.proxy import FaultProxy, proxying
from faults.redisserver import RedisServer, redis_server
from scopegate.core import keys
from scopegate.core.keys import KeyRecord, KeyType
from scopegate.store import Store, layout

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path
    from typing import Any

    from e2e.gateways import Gateway

TAG = "000"
PATH = "/api/recordings/1"
PACE = 0.01  # seconds between two requests of a client
STRANGER = "stranger"
USER = "maria"
_SETTLED = 5  # right answers in a row


class Client(Thread):
    """Calls over and over on one connection, so one worker answers; it notes what it is told."""

    def __init__(
        self, port: int, name: str, text: Callable[[], str], answers: list[Answer], *, pace: float = PACE
    ) -> None:
        super().__init__(daemon=True)
        self._pace = pace
        self.name_of_key = name
        self._text = text
        self._answers = answers
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        self.enough = Event()
        self.told: list[Answer] = []

    def run(self) -> None:
        while not self.enough.wait(self._pace):
            self.call()
        self._connection.close()

    @property
    def socket(self) -> socket.socket:
        """The connection that it calls on."""
        found = self._connection.sock
        assert found is not None
        return found

    def call(self) -> None:
        """Call once."""
        answer = self._call()
        self.told.append(answer)
        self._answers.append(answer)

    def _call(self) -> Answer:
        sent = time.monotonic()
        try:
            self._connection.request("GET", PATH, headers={"X-API-Key": self._text()})
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return Answer(self.name_of_key, sent, time.monotonic(), 0, repr(error))
        answered = time.monotonic()
        code = "" if response.status == ALLOWED else str(json.loads(body)["code"])
        after = response.getheader("Retry-After") is not None
        return Answer(self.name_of_key, sent, answered, response.status, code, after)


class Stream(Thread):
    """An answer without end, read until it is cut off; ``ended`` is when, None while it goes on."""

    def __init__(self, port: int, text: str) -> None:
        super().__init__(daemon=True)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        self._connection.request("GET", "/stream", headers={"X-API-Key": text})
        self._response = self._connection.getresponse()
        assert self._response.status == ALLOWED
        assert self._response.read(1) == b"."
        self.pieces = 0
        self.ended: float | None = None

    def run(self) -> None:
        with suppress(OSError, http.client.HTTPException):
            while self._response.read(1):
                self.pieces += 1
        self.ended = time.monotonic()
        self._response.close()
        self._connection.close()

    def close(self) -> None:
        """Leave it."""
        if self._connection.sock is not None:
            with suppress(OSError):  # it has ended just now
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        self.join(DEADLINE)

    def is_going_on(self) -> bool:
        """Wait for more of it; whether it has not ended."""
        before = self.pieces
        wait_until(lambda: self.ended is not None or self.pieces > before, "the stream goes on or ends")
        return self.ended is None


@dataclass
class Scene:
    """All that a test of faults needs; what it does is noted in ``history``."""

    redis: RedisServer
    proxy: FaultProxy
    gateway: Gateway
    promise: Promise
    history: History = field(default_factory=History)
    clients: list[Client] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    texts: dict[str, keys.KeyText] = field(default_factory=dict)

    # Keys

    def create(self, *names: str, **fields: Any) -> None:
        """Create a key for each name; straight in Redis, which no fault keeps the test from."""

        async def create(store: Store) -> None:
            now = datetime.now(UTC)
            for name in names:
                key = self.texts[name] = keys.mint(TAG, secrets.choice)
                record = KeyRecord(
                    id=key.id,
                    tenant="default",
                    type=KeyType.EXTERNAL,
                    digest=keys.digest(key),
                    description=name,
                    created_at=now,
                )
                await store.keys.create(replace(record, **fields), now=now)

        begun = time.monotonic()
        self.operate(create)
        self.note(begun, *names, opens=True)

    def switch(self, name: str, *, enabled: bool) -> None:
        """Disable or enable a key as an administrator does."""
        begun = time.monotonic()
        self.operate(
            lambda store: store.keys.change(
                self.texts[name].id, lambda record: replace(record, enabled=enabled)
            )
        )
        self.note(begun, name, opens=enabled)

    def switch_user(self, *names: str, active: bool) -> None:
        """Let the user of these keys be active, or not."""
        begun = time.monotonic()
        self.operate(lambda store: store.users.change(USER, lambda user: replace(user, active=active)))
        self.note(begun, *names, opens=active)

    def note(self, begun: float, *names: str, opens: bool) -> None:
        """Note a change that was begun then, and is acknowledged now."""
        now = time.monotonic()
        self.history.commits += [Commit(name, begun, now, opens=opens) for name in names]

    def operate(self, what: Callable[[Store], Coroutine[Any, Any, Any]]) -> None:
        """Run an operation on the store, past the faulty network."""

        async def run() -> None:
            store = Store.at(self.redis.url)
            try:
                await what(store)
            finally:
                await store.aclose()

        asyncio.run(run())

    def name_in_redis(self, name: str) -> str:
        """Where the record of a key lies."""
        return layout.key_record(TAG, self.texts[name].id)

    def exists(self, name: str) -> bool:
        """Whether there is a record of a key."""
        with self.redis.client() as client:
            return bool(client.exists(self.name_in_redis(name)))

    def told(self) -> frozenset[str]:
        """The connections that Redis tells of changes, by prefix."""
        with self.redis.client() as client:
            listed = client.client_list()
        return frozenset(one["id"] for one in listed if "t" in one["flags"] and "B" in one["flags"])

    def wait_until_others_are_told(self, before: frozenset[str]) -> None:
        """Wait until each worker has another connection in place of one that there was `before`."""
        wait_until(
            lambda: len(self.told()) == len(before) and not self.told() & before,
            "all workers are told of changes again",
            process=self.gateway.process,
        )
        wait_until(lambda: self.live_workers() == len(before), "all workers know it")

    def live_workers(self) -> int:
        """How many workers say that they are told of changes."""
        return live_workers(self.gateway)

    # Clients

    def call(self, *names: str, times: int = 1) -> list[Client]:
        """Have clients call with these keys, each on connections of its own, until the scene ends."""
        new = [self._client(name) for name in names for _ in range(times)]
        for client in new:
            client.start()
        self.clients += new
        return new

    def stream(self, name: str) -> Stream:
        """Open a stream with a key."""
        opened = Stream(self.gateway.port, self._text(name))
        self.streams.append(opened)
        opened.start()
        return opened

    def call_every_worker(self, name: str, *, workers: int) -> list[Client]:
        """Have one client call each worker, at its leisure."""
        found: dict[int, Client] = {}
        while len(found) < workers:
            client = self._client(name, pace=5 * PACE)
            client.call()
            if found.setdefault(self.worker_of(client.socket), client) is not client:
                client.socket.close()
        for client in found.values():
            client.start()
        self.clients += found.values()
        return [*found.values()]

    def _client(self, name: str, *, pace: float = PACE) -> Client:
        return Client(self.gateway.port, name, lambda: self._text(name), self.history.answers, pace=pace)

    def _text(self, name: str) -> str:
        known = self.texts.get(name)
        return (known or keys.mint(TAG, secrets.choice)).text  # a stranger is another one each time

    def worker_of(self, connection: socket.socket) -> int:
        """The process of the gateway at the other end."""
        return holder(connection, self.gateway.process.pid)

    def settle(self, status: int = ALLOWED, *names: str) -> None:
        """Wait until each client with one of these keys, or any, is told `status`, and goes on to be."""
        concerned = [
            client
            for client in self.clients
            if (client.name_of_key in names if names else client.name_of_key in self.texts)
        ]
        before = {client: len(client.told) for client in concerned}

        def settled(client: Client) -> bool:
            last = client.told[before[client] :][-_SETTLED:]
            return len(last) == _SETTLED and all(answer.status == status for answer in last)

        wait_until(lambda: all(map(settled, concerned)), f"{status} for all", process=self.gateway.process)

    def watch(self, seconds: float) -> None:
        """Let the clients call for a while."""
        time.sleep(seconds)

    def known(self, *names: str) -> None:
        """Note that every worker has answered for these keys; their clients have to be on all of them."""
        self.settle(ALLOWED, *names)
        self.history.known |= frozenset(names)
        # Whoever has seen that they open cannot have missed that they were created.
        self.history.commits = [
            replace(commit, begun=-math.inf, acknowledged=-math.inf) if commit.key in names else commit
            for commit in self.history.commits
        ]

    # Faults

    @contextmanager
    def fault(self, effect: Effect) -> Iterator[_Fault]:
        """Note a fault: it sets in by `set_in`, and is over by what comes after `healing`."""
        fault = _Fault(self.history, effect)
        yield fault
        fault.over()

    # The end

    def end(self) -> None:
        """Let the clients finish; others may come."""
        for client in self.clients:
            client.enough.set()
        for client in self.clients:
            client.join(DEADLINE)
        self.clients.clear()
        while self.streams:
            self.streams.pop().close()

    def judge(self) -> None:
        """End, and hold what was seen against the promise."""
        self.end()
        broken = violations(self.history, self.promise)
        assert self.history.answers
        assert not broken, f"{len(broken)} violations, the first: {broken[:5]}\n{self.gateway.process.err}"


class _Fault:
    """Tells the history when a fault sets in and when it goes."""

    def __init__(self, history: History, effect: Effect) -> None:
        self._history = history
        self.noted = Fault(effect, begun=time.monotonic(), in_force=math.inf)
        history.faults.append(self.noted)

    def in_force(self) -> None:
        self._note(replace(self.noted, in_force=time.monotonic()))

    def healing(self) -> None:
        self._note(replace(self.noted, healing=time.monotonic()))

    def over(self) -> None:
        self._note(replace(self.noted, ended=time.monotonic()))

    def _note(self, fault: Fault) -> None:
        faults = self._history.faults
        faults[faults.index(self.noted)] = self.noted = fault


@dataclass(frozen=True)
class Stage:
    """A running gateway whose Redis is behind the proxy; tests take turns on it."""

    redis: RedisServer
    proxy: FaultProxy
    gateway: Gateway
    workers: int
    max_staleness: float

    @contextmanager
    def scene(self) -> Iterator[Scene]:
        """One test's turn: Redis is empty and nothing is wrong yet."""
        seen = Scene(self.redis, self.proxy, self.gateway, Promise(max_staleness=self.max_staleness))
        try:
            yield seen
        finally:
            seen.end()
            self._clear()

    def _clear(self) -> None:
        self.proxy.accept()
        self.proxy.heal()
        self.redis.restore()
        wait_until(
            lambda: (
                self.gateway.ask("/readyz").status_code == ALLOWED
                and live_workers(self.gateway) == self.workers
            ),
            "all is well again",
            process=self.gateway.process,
        )


def live_workers(gateway: Gateway) -> int:
    found = re.search(r"^scopegate_views_live (\S+)$", gateway.ask("/metrics").text, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


@contextmanager
def stage(directory: Path, *, workers: int, max_staleness: float) -> Iterator[Stage]:
    """A stage that is there until the context ends."""
    with (
        redis_server(directory / "redis") as redis,
        proxying(find_free_port(), redis.port) as proxy,
        upstream_server() as upstream,
        serving(
            directory,
            upstream.url,
            *("--workers", str(workers)),
            redis_url=proxy.url,
            env={"SCOPEGATE_MAX_STALENESS": str(max_staleness), "SCOPEGATE_FAILED_AUTH_LIMIT": "0"},
        ) as gateway,
    ):
        wait_until(lambda: live_workers(gateway) == workers, "all workers are told of changes")
        yield Stage(redis, proxy, gateway, workers, max_staleness)
