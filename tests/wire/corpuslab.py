"""Runs the corpus: a key for each case, a server for each form of use, and what arrives behind it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import socket
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Self

from websockets.utils import accept_key

from conftest import find_free_port
from e2e.processes import SCOPEGATE, listens, running, wait_until
from scopegate.commands import Commands
from scopegate.core import keys
from scopegate.core.errors import InvalidInput
from scopegate.core.keys import KeyRecord, KeyText, KeyType, Rule
from scopegate.store import Store
from scopegate.store.embedded import EmbeddedStore
from wire.corpora import Answer, Asked, Case, Outcome, Seen, final_status
from wire.questions import FORWARDED, ORIGINAL_URI, ORIGINAL_URL, question
from wire.wires import Cut, Message, Wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_TESTS = Path(__file__).parents[1]
_TENANT_TAG = "000"
_MANY = 1_000_000
_AT_ONCE = 8
_PATIENCE = 20.0  # seconds for an answer that has to come; generous, for a busy machine is not a failure
_DOUBT = 1.5  # seconds for one that may be left out
_QUIET = 0.3  # seconds after an answer, in which another one would have come
_SETTLED = 0.2
_TRIES = 3

_MODULE = (sys.executable, "-m")
_UVICORN = (*_MODULE, "uvicorn", "--no-proxy-headers", "--log-level", "critical", "--factory")
_GRANIAN = (*_MODULE, "granian", "--interface", "asgi", "--http", "1", "--factory")
_GATEWAY = "scopegate.app:gateway"
_HTTPTOOLS = ("--http", "httptools")
_H11 = ("--http", "h11")


@dataclass(frozen=True)
class Form:
    """A way to use Scopegate.

    ``mount`` is where the protected application is, and ``sent`` whether clients send that too (a
    server that is told a root path puts it before what comes). ``asked`` is the style in which another
    proxy asks it, if it forwards nothing itself.
    """

    name: str
    command: tuple[str, ...]
    mount: str = ""
    sent: str = ""
    asked: str | None = None

    @property
    def is_gateway(self) -> bool:
        return self.command[: len(_OWN)] == _OWN or _GATEWAY in self.command


_OWN = (*SCOPEGATE, "serve")
FORMS = (
    Form("own", _OWN),
    Form("granian", (*_GRANIAN, _GATEWAY)),
    Form("httptools", (*_UVICORN, *_HTTPTOOLS, _GATEWAY)),
    Form("h11", (*_UVICORN, *_H11, _GATEWAY)),
    Form("starlette", (*_UVICORN, *_HTTPTOOLS, "wire.guarded:starlette_app")),
    Form("starlette-h11", (*_UVICORN, *_H11, "wire.guarded:starlette_app")),
    Form("starlette-mounted", (*_UVICORN, *_HTTPTOOLS, "wire.guarded:starlette_mounted"), "/m", "/m"),
    Form(
        "starlette-rooted", (*_UVICORN, *_HTTPTOOLS, "--root-path", "/m", "wire.guarded:starlette_app"), "/m"
    ),
    Form("fastapi", (*_UVICORN, *_HTTPTOOLS, "wire.guarded:fastapi_app")),
    Form("fastapi-mounted", (*_UVICORN, *_H11, "wire.guarded:fastapi_mounted"), "/m", "/m"),
)


_ASKED = "scopegate.app:forward_auth"
ASKED_FORMS = (
    Form("asked-own", (*_OWN, "--forward-auth-listen"), asked=FORWARDED),
    Form("asked-granian", (*_GRANIAN, _ASKED), asked=FORWARDED),
    Form("asked-httptools", (*_UVICORN, *_HTTPTOOLS, _ASKED), asked=FORWARDED),
    Form("asked-h11", (*_UVICORN, *_H11, _ASKED), asked=FORWARDED),
    Form("asked-by-uri", (*_UVICORN, *_HTTPTOOLS, _ASKED), asked=ORIGINAL_URI),
    Form("asked-by-url", (*_GRANIAN, _ASKED), asked=ORIGINAL_URL),
)


@dataclass(frozen=True)
class Keys:
    """What stands for the placeholders of a case, and the ids of its keys."""

    values: dict[str, str]
    ids: frozenset[str]


class Lab:
    """A store with the keys of all cases, beside which each form is run."""

    def __init__(self, stack: ExitStack, cases: Sequence[Case]) -> None:
        self._cases = cases
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sg-")))
        self.redis_url = stack.enter_context(EmbeddedStore(self._folder / "store")).url
        self._keys: dict[tuple[str, str | None], list[Keys]] = {}

    def run(self, form: Form, *, opened: str | None = None) -> Run:
        """Send every case to `form`; `opened` is the URL of all rules, in place of the cases' own."""
        mount = form.mount
        if (mount, opened) not in self._keys:
            self._keys[mount, opened] = asyncio.run(_create_keys(self.redis_url, self._cases, mount, opened))
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sg-")))
            upstream = stack.enter_context(closing(Recorder()))
            noted = folder / "seen"
            noted.touch()
            port = find_free_port()
            command = form.command
            if command[-1] == "--forward-auth-listen":
                command += (f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{find_free_port()}")
            elif command == _OWN:
                command += (
                    "--listen",
                    f"127.0.0.1:{port}",
                    "--admin-listen",
                    f"127.0.0.1:{find_free_port()}",
                )
            else:
                command += ("--port", str(port))
            environment = {
                "PYTHONPATH": os.pathsep.join(filter(None, [str(_TESTS), os.environ.get("PYTHONPATH")])),
                "CORPUS_SEEN": str(noted),
                "CORPUS_STORE": self.redis_url,
                "SCOPEGATE_REDIS_URL": self.redis_url,
            }
            if form.asked is None:
                environment["SCOPEGATE_UPSTREAM"] = upstream.url
            else:
                environment["SCOPEGATE_TRUSTED_PROXIES"] = "127.0.0.1"
                environment["SCOPEGATE_FORWARD_AUTH_DIALECT"] = form.asked.partition("-")[0]
            process = stack.enter_context(running(*command, directory=folder, env=environment))
            wait_until(lambda: listens(port), f"{form.name} starts", process=process)
            run = Run(self._cases, self._keys[mount, opened], form, port)
            run.send_all()
            run.attribute(upstream.seen if form.is_gateway else _noted(noted))
            run.stray += upstream.malformed
            assert not process.has_ended()
            return run


class Run:
    """All cases, sent to one server."""

    def __init__(self, cases: Sequence[Case], keys: Sequence[Keys], form: Form, port: int) -> None:
        self._form = form
        self._port = port
        self.outcomes: list[Outcome] = []
        self.left_out: list[Case] = []
        self.stray: list[str] = []
        self._sendable: list[tuple[Case, Keys, bytes]] = []
        for case, its in zip(cases, keys, strict=True):
            data = self._data(case, its)
            if data is None:
                self.left_out.append(case)
            else:
                self._sendable.append((case, its, data))

    def send_all(self) -> None:
        """Send all cases, several at once; those whose time counts once more alone."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = list(pool.map(self._send, self._sendable))
        time.sleep(_SETTLED)
        for (case, its, data), answer in zip(self._sendable, answers, strict=True):
            best = answer
            if case.max_seconds is not None and not case.targets:
                again = [_exchange(self._port, case, data) for _ in range(_TRIES)]
                best = min(again, key=_seconds)
            outcome = Outcome if self._form.asked is None else Asked
            self.outcomes.append(outcome(case, its.values, its.ids, best, self._form.mount))

    def attribute(self, seen: Iterable[Seen]) -> None:
        """Add to each outcome what arrived with one of its keys."""
        by_key = {key: outcome for outcome in self.outcomes for key in outcome.ids}
        for one in seen:
            values = one.values("x-scopegate-key-id")
            if len(values) == 1 and values[0] in by_key:
                by_key[values[0]].seen.append(one)
            else:
                self.stray.append(f"{one.method} {one.target[:200]} arrived for {values}")

    def wrong(self) -> list[str]:
        """Each case that went wrong, with the bytes to try it by hand, and what arrived for none of them."""
        return [
            f"{outcome.case.id} ({outcome.case.expect}): {'; '.join(found)}\n    {outcome.case.why[:160]}\n"
            f"    {outcome.case.request[:300].encode('latin-1')!r}\n    rule {outcome.case.rule}"
            for outcome in self.outcomes
            if (found := outcome.wrong())
        ] + [f"for no case: {stray}" for stray in self.stray]

    def _data(self, case: Case, its: Keys) -> bytes | None:
        """The bytes to send for a case; None if it is left out."""
        if self._form.asked is not None:
            return question(case, self._form.asked, its.values)
        if self._form.mount and not case.has_path:
            return None
        return case.data(its.values, prefix=self._form.sent)

    def _send(self, sendable: tuple[Case, Keys, bytes]) -> Answer:
        case, _, data = sendable
        return _exchange(self._port, case, data)


class Recorder:
    """An upstream that notes each whole request and answers it with the id of the key that it came with."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.malformed: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._wires: list[Wire] = []
        Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def close(self) -> None:
        # Closing alone would leave a thread in accept().
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for wire in self._wires:
            with suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                wire = Wire(self._listener.accept()[0])
                self._wires.append(wire)
                Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire: Wire) -> None:
        with wire, suppress(Cut, OSError):
            try:
                while True:
                    request = wire.request()
                    self.seen.append(_seen(request))
                    wire.send(_answer(request))
                    if request.values(b"upgrade"):
                        wire.send(b"\x88\x00")  # a close frame
                        wire.whatever()
                        return
            except AssertionError as error:
                self.malformed.append(f"a malformed request arrived: {error}")


def _seen(request: Message) -> Seen:
    method, target, _ = request.start.decode("latin-1").split(" ")
    fields = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.fields)
    return Seen(method, target, fields, request.body.decode("latin-1"))


def _answer(request: Message) -> bytes:
    nonces = request.values(b"sec-websocket-key")
    if request.values(b"upgrade") and len(nonces) == 1:
        accepted = accept_key(nonces[0].decode()).encode()
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accepted
        )
    body = b"for " + b",".join(request.values(b"x-scopegate-key-id"))
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head if request.start.startswith(b"HEAD ") else head + body


def _noted(path: Path) -> list[Seen]:
    rows = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    return [
        Seen(row["method"], row["target"], tuple((name, value) for name, value in row["fields"]), row["body"])
        for row in rows
    ]


def _exchange(port: int, case: Case, data: bytes) -> Answer:
    """Send `data`, and take whatever comes until the connection ends or nothing more comes."""
    pieces: list[bytes] = []
    patience = _PATIENCE if case.expect == "allow" else _DOUBT
    began = time.perf_counter()
    answered = began + patience
    with socket.create_connection(("127.0.0.1", port)) as sock, suppress(ConnectionError, TimeoutError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(patience)
        with suppress(ConnectionError):  # who refuses early may not read to the end
            sock.sendall(data)
            if case.half_close:
                sock.shutdown(socket.SHUT_WR)
        while piece := sock.recv(65_536):
            if not pieces:
                answered = time.perf_counter()
            pieces.append(piece)
            if final_status(b"".join(pieces)) is not None:
                sock.settimeout(_QUIET)
    return Answer(b"".join(pieces), answered - began)


def _seconds(answer: Answer) -> float:
    return answer.seconds


async def _create_keys(redis_url: str, cases: Sequence[Case], mount: str, opened: str | None) -> list[Keys]:
    store = Store.at(redis_url)
    try:
        commands = Commands(store)
        await commands.set_scoped_api(on=True)
        slots = asyncio.Semaphore(64)

        async def create(case: Case) -> Keys:
            async with slots:
                return await _keys_of(store, case, mount, opened)

        return await asyncio.gather(*map(create, cases))
    finally:
        await store.aclose()


async def _keys_of(store: Store, case: Case, mount: str, opened: str | None) -> Keys:
    """The keys that a case speaks of; a rule that nobody could create is no rule."""
    now = datetime.now(UTC)
    method, url = case.rule_under(mount)
    try:
        rules: tuple[Rule, ...] = (Rule(method, url if opened is None else opened),)
    except InvalidInput:
        rules = ()
    ids = []

    async def key(
        rules: tuple[Rule, ...] = rules, *, enabled: bool = True, expires_at: datetime | None = None
    ) -> KeyText:
        made = keys.mint(_TENANT_TAG, secrets.choice)
        record = KeyRecord(
            id=made.id,
            tenant="default",
            type=KeyType.CUSTOM,
            digest=keys.digest(made),
            description=case.id,
            created_at=now,
            enabled=enabled,
            expires_at=expires_at,
            rules=rules,
        )
        await store.keys.create(record, now=now, limit=_MANY)
        ids.append(made.id)
        return made

    its = await key()
    text = its.text
    body = text[: -keys.SECRET_LENGTH - keys.CHECKSUM_LENGTH] + "0" * keys.SECRET_LENGTH
    values = {
        "{KEY}": text,
        "{KEYID}": its.id,
        "{BADKEY}": "sg_nope",
        "{KEY_WRONG_SECRET}": body + keys._checksum(body),
        "{KEY_BAD_CRC}": text[:-1] + ("1" if text[-1] == "0" else "0"),
        "{KEY_UPPER}": text.upper(),
        "{KEY_TRUNCATED}": text[:-3],
        "{KEY_PCT}": f"%{ord(text[0]):02x}{text[1:]}",
        "{KEY_B64}": base64.b64encode(f"x:{text}".encode()).decode(),
        "{KEY2}": (await key((Rule("GET", "/none"),))).text,
    }
    if case.mentions("{KEY_DISABLED}"):
        values["{KEY_DISABLED}"] = (await key(enabled=False)).text
    if case.mentions("{KEY_EXPIRED}"):
        values["{KEY_EXPIRED}"] = (await key(expires_at=now - timedelta(days=1))).text
    if case.mentions("{KEY_DELETED}"):
        deleted = await key()
        await store.keys.delete(deleted.id)
        values["{KEY_DELETED}"] = deleted.text
    return Keys(values, frozenset(ids))
