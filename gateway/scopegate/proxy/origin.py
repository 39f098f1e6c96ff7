"""Where the upstream is: its URL taken apart once, and how a connection to it is opened."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scopegate.proxy.balancing import GOOD, Standing, order

if TYPE_CHECKING:
    from collections.abc import Sequence

_DEFAULT_PORTS = {"http": 80, "https": 443}
# What people write who want HTTP/2 or gRPC of us.
_OTHER_PROTOCOLS = {"grpc", "grpcs", "h2", "h2c", "h2s", "http2", "https2"}
_ATTEMPT = 1.0  # seconds for an address, while its name has another one
_LONGEST_LABEL = 63  # RFC 1035 section 2.3.4
# What getaddrinfo says of one address: family, type, protocol, canonical name and where to connect.
AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
FORMS = "http://host[:port], https://host[:port] or unix:/path/to.sock"


class Addresses:
    """What is remembered of the addresses that a name has had."""

    __slots__ = ("_standings", "_turn")

    def __init__(self) -> None:
        self._standings: dict[tuple[Any, ...], Standing] = {}
        self._turn = 0

    def in_order(self, found: Sequence[AddressInfo], now: float) -> list[AddressInfo]:
        """The addresses in the order in which to try them; those that are no longer among them are forgotten.

        Those of the family that the system puts first take turns; one that has failed comes last.
        """
        remembered = self._standings
        self._standings = {at: remembered[at] for *_, at in found if at in remembered}
        self._turn += 1
        preferred = found[0][0]
        numbers = order(
            [(self._standings.get(at, GOOD), int(family != preferred)) for family, _, _, _, at in found],
            now,
            self._turn - 1,
        )
        return [found[number] for number in numbers]

    def chosen(self, address: tuple[Any, ...], now: float) -> None:
        """Note that `address` is about to be tried."""
        if address in self._standings:
            self._standings[address] = self._standings[address].chosen(now)

    def reached(self, address: tuple[Any, ...]) -> None:
        """Note that `address` could be connected to."""
        self._standings.pop(address, None)

    def unreachable(self, address: tuple[Any, ...], now: float) -> None:
        """Note that `address` could not be connected to."""
        self._standings[address] = self._standings.get(address, GOOD).unreachable(now)


@dataclass(frozen=True, slots=True)
class Origin:
    """One upstream. Exactly one of ``socket_path`` and ``host`` is set.

    ``authority`` is what a Host field says; ``name`` is what a log says.
    """

    name: str
    authority: bytes
    host: str = ""
    port: int = 0
    socket_path: str = ""
    tls: ssl.SSLContext | None = None

    @property
    def is_named(self) -> bool:
        """Whether the host is a name, which may have several addresses and change them."""
        try:
            ip_address(self.host)
        except ValueError:
            return True
        return False

    async def connect(self, protocol: asyncio.Protocol, addresses: Addresses | None = None) -> None:
        """Connect `protocol`; raises `OSError` (a failure of TLS is `ssl.SSLError`, a kind of it).

        A name is resolved each time, and each of its addresses is tried; `addresses` remembers how
        they have done.
        """
        loop = asyncio.get_running_loop()
        server_hostname = self.host if self.tls else None
        if self.socket_path:
            await loop.create_unix_connection(lambda: protocol, self.socket_path)
        elif self.is_named:
            # Not create_connection(host): it would spend all of the time on the first address that
            # drops what it is sent.
            connected = await _connect_to_any(loop, self.host, self.port, addresses or Addresses())
            # Whatever comes of it, the loop closes the socket.
            await loop.create_connection(
                lambda: protocol, sock=connected, ssl=self.tls, server_hostname=server_hostname
            )
        else:
            await loop.create_connection(
                lambda: protocol, self.host, self.port, ssl=self.tls, server_hostname=server_hostname
            )


async def _connect_to_any(
    loop: asyncio.AbstractEventLoop, host: str, port: int, addresses: Addresses
) -> socket.socket:
    """A socket that is connected to the first address of `host` that answers."""
    found: Sequence[AddressInfo] = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    left = addresses.in_order(found, loop.time())
    while True:
        family, kind, protocol, _, address = left.pop(0)
        addresses.chosen(address, loop.time())
        try:
            async with asyncio.timeout(_ATTEMPT if left else None):
                connected = await _connect_to(loop, socket.socket(family, kind, protocol), address)
        except OSError:  # TimeoutError is one
            addresses.unreachable(address, loop.time())
            if not left:
                raise
        else:
            addresses.reached(address)
            return connected


async def _connect_to(
    loop: asyncio.AbstractEventLoop, connecting: socket.socket, address: tuple[Any, ...]
) -> socket.socket:
    try:
        connecting.settimeout(0)
        await loop.sock_connect(connecting, address)
    except BaseException:
        connecting.close()
        raise
    return connecting


def parse_origin(upstream: str, ssl_context: ssl.SSLContext | None = None) -> Origin:
    """The origin that `upstream` names; raises `ValueError` naming the part that is wrong.

    The messages never repeat the text, which may hold a password.
    """
    if not upstream.isascii() or any(character <= " " or character == "\x7f" for character in upstream):
        raise ValueError(
            "upstream: contains white space, a control or a non-ASCII character;"
            " write an international host name in its xn-- form"
        )
    scheme, colon, rest = upstream.partition(":")
    if scheme.lower() in _OTHER_PROTOCOLS:
        raise ValueError(
            "upstream: HTTP/2 and gRPC upstreams are not supported, only HTTP/1.1 ones;"
            " write http:// or https:// if it speaks HTTP/1.1 as well"
        )
    if not colon or scheme not in {"http", "https", "unix"}:
        raise ValueError(f"upstream: unknown scheme; write {FORMS}")
    if ssl_context is not None and scheme != "https":
        raise ValueError(
            "upstream: ssl_context is given, but the scheme is not https; write https:// or leave it out"
        )
    if scheme == "unix":
        return _unix_origin(rest)
    if not rest.startswith("//"):
        raise ValueError(f"upstream: '//' is missing after the scheme; write {FORMS}")
    host, port = _host_and_port(upstream, scheme)
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port == _DEFAULT_PORTS[scheme] else f"{shown}:{port}"
    return Origin(
        name=f"{scheme}://{authority}",
        authority=authority.encode(),
        host=host,
        port=port,
        tls=(ssl_context or _verified_tls()) if scheme == "https" else None,
    )


def _unix_origin(path: str) -> Origin:
    if not path.startswith("/") or path.startswith("//"):
        raise ValueError("upstream: the socket path must be absolute; write unix:/path/to.sock")
    return Origin(name=f"unix:{path}", authority=b"localhost", socket_path=path)


def _host_and_port(upstream: str, scheme: str) -> tuple[str, int]:
    if "?" in upstream:
        raise ValueError("upstream: a query is not allowed; remove the part from '?' on")
    if "#" in upstream:
        raise ValueError("upstream: a fragment is not allowed; remove the part from '#' on")
    try:
        parts = urlsplit(upstream)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(
            "upstream: host or port is not valid; write host:port, with 1 <= port <= 65535"
        ) from None
    if "@" in parts.netloc:
        raise ValueError("upstream: user and password are not allowed; remove the part before '@'")
    if parts.path not in {"", "/"}:
        raise ValueError("upstream: a path is not allowed, as paths are forwarded unchanged; remove it")
    if not host or any(character in '%\\"<>^`{|}[]' for character in host):
        raise ValueError(f"upstream: the host is missing or not valid; write {FORMS}")
    if any(not 0 < len(label) <= _LONGEST_LABEL for label in host.removesuffix(".").split(".")):
        raise ValueError("upstream: the host has an empty or overlong part; write it as DNS has it")
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError("upstream: the port is missing or 0; write a port from 1 to 65535, or none")
    return host, port or _DEFAULT_PORTS[scheme]


def _verified_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
