"""The upstream's URL: what it may be, and what an error says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.proxy import ReverseProxy, Timeouts, origin
from scopegate.proxy.origin import parse_origin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.mark.parametrize(
    ("upstream", "host", "port", "authority"),
    [
        ("http://api", "api", 80, b"api"),
        ("http://api/", "api", 80, b"api"),
        ("http://api.test.", "api.test.", 80, b"api.test."),
        ("http://api:80", "api", 80, b"api"),
        ("http://api:8080", "api", 8080, b"api:8080"),
        ("http://API.example", "api.example", 80, b"api.example"),
        ("http://127.0.0.1:443", "127.0.0.1", 443, b"127.0.0.1:443"),
        ("http://[::1]:81", "::1", 81, b"[::1]:81"),
        ("https://api", "api", 443, b"api"),
        ("https://api:80", "api", 80, b"api:80"),
    ],
)
def test_host_port_and_authority_come_from_the_url(
    upstream: str, host: str, port: int, authority: bytes
) -> None:
    parsed = parse_origin(upstream)
    assert (parsed.host, parsed.port, parsed.authority) == (host, port, authority)


def test_https_is_verified_against_the_system_by_default() -> None:
    context = parse_origin("https://api").tls
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_https_uses_the_given_context() -> None:
    context = ssl.create_default_context()
    assert parse_origin("https://api", context).tls is context


def test_a_unix_upstream_is_a_path() -> None:
    parsed = parse_origin("unix:/run/api.sock")
    assert (parsed.socket_path, parsed.authority) == ("/run/api.sock", b"localhost")


@pytest.mark.parametrize(
    ("upstream", "part"),
    [
        ("", "scheme"),
        ("api:8080", "scheme"),
        ("ftp://api", "scheme"),
        ("HTTP//api", "scheme"),
        ("http:api", "'//'"),
        ("http://", "host"),
        ("http://:80", "host"),
        ("http://a%2eb", "host"),
        ("http://[::1", "host"),
        ("http://api:0", "port"),
        ("http://api:", "port"),
        ("http://api:99999", "port"),
        ("http://api:x", "port"),
        ("http://user:hunter2@api", "user"),
        ("http://api/v1?hunter2", "query"),
        ("http://api?", "query"),
        ("http://api#hunter2", "fragment"),
        ("http://api/v1", "path"),
        ("http://a..b", "host"),
        ("http://.a", "host"),
        ("http://" + "a" * 64, "host"),
        ("h2c://api", "HTTP/2 and gRPC upstreams are not supported"),
        ("grpc://api:50051", "HTTP/2 and gRPC upstreams are not supported"),
        ("grpcs://api", "HTTP/2 and gRPC upstreams are not supported"),
        ("h2://api", "HTTP/2 and gRPC upstreams are not supported"),
        ("HTTP2://api", "HTTP/2 and gRPC upstreams are not supported"),
        ("http://api//", "path"),
        ("http://a b", "white space"),
        ("http://api\n", "white space"),
        ("http://bücher.example", "non-ASCII"),
        ("unix:api.sock", "absolute"),
        ("unix://run/api.sock", "absolute"),
        ("unix:", "absolute"),
    ],
)
def test_a_wrong_url_is_refused_with_the_part_that_is_wrong(upstream: str, part: str) -> None:
    with pytest.raises(ValueError, match=part) as refusal:
        ReverseProxy(upstream)
    assert "hunter2" not in str(refusal.value)


def test_a_tls_context_needs_https() -> None:
    with pytest.raises(ValueError, match="ssl_context"):
        ReverseProxy("http://api", ssl_context=ssl.create_default_context())


class Resolver:
    """Answers for the names of one test, and counts the questions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
        self.addresses = addresses
        self.asked = 0
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self._answer)

    async def _answer(self, host: str, port: int, **_: Any) -> list[Any]:
        assert host == "api.test"
        self.asked += 1
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, (address, port)) for address in self.addresses]


class Reached(asyncio.Protocol):
    """Remembers the address to which it was connected."""

    address = ""
    without_delay = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert not self.address
        self.address = transport.get_extra_info("peername")[0]
        peer = transport.get_extra_info("socket")
        self.without_delay = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        transport.close()


@contextlib.asynccontextmanager
async def listening(address: str) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, address, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def reach(port: int) -> Reached:
    reached = Reached()
    await parse_origin(f"http://api.test:{port}").connect(reached)
    return reached


async def test_a_name_is_resolved_for_each_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening("0.0.0.0") as port:
        resolver = Resolver(monkeypatch, "127.0.0.1")
        assert (await reach(port)).address == "127.0.0.1"
        resolver.addresses = ("127.0.0.2",)
        reached = await reach(port)
        assert (reached.address, resolver.asked) == ("127.0.0.2", 2)
        assert reached.without_delay


async def test_an_address_that_refuses_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening("127.0.0.3") as port:
        Resolver(monkeypatch, "127.0.0.1", "127.0.0.2", "127.0.0.3")
        assert (await reach(port)).address == "127.0.0.3"


async def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect
    silent = []

    async def sock_connect(connecting: socket.socket, address: tuple[str, int]) -> None:
        if address[0] == "127.0.0.1":
            silent.append(connecting)
            await asyncio.Event().wait()
        await connect(connecting, address)

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    monkeypatch.setattr(origin, "_ATTEMPT", 0.01)
    async with listening("127.0.0.2") as port:
        Resolver(monkeypatch, "127.0.0.1", "127.0.0.2")
        assert (await reach(port)).address == "127.0.0.2"
    assert [connecting.fileno() for connecting in silent] == [-1]


async def test_a_name_of_which_no_address_answers_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening("127.0.0.3") as port:
        Resolver(monkeypatch, "127.0.0.1", "127.0.0.2")
        with pytest.raises(ConnectionRefusedError):
            await reach(port)


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}", "http://[::1]:{}"])
async def test_an_address_is_not_looked_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening("::1" if "[" in url else "127.0.0.1") as port:
        resolver = Resolver(monkeypatch)
        reached = Reached()
        await parse_origin(url.format(port)).connect(reached)
        assert reached.address
        assert not resolver.asked


@pytest.mark.parametrize("name", ["connect", "head", "idle", "pool"])
@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_timeouts_are_positive(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=name):
        Timeouts(**{name: seconds})


def test_only_the_whole_exchange_may_have_no_bound() -> None:
    assert Timeouts(total=0).total == 0
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError, match="total"):
            Timeouts(total=seconds)


@pytest.mark.parametrize(
    "options", [{"host_policy": "keep"}, {"max_connections": 0}, {"idle_expiry": 0}], ids=str
)
def test_wrong_options_fail_at_construction(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        ReverseProxy("http://api", **options)


def test_the_repr_names_the_upstream() -> None:
    assert repr(ReverseProxy("http://api:8080")) == "ReverseProxy('http://api:8080')"
