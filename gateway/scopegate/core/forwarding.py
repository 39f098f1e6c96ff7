"""What the upstream is told about who called, and what of a caller's own claims is believed.

Nothing is believed by default. A peer that the operator trusts may say for whom it forwards: that is
passed on, and the peer's own address is appended. Claims are read by strict grammars; one that is in
doubt is as if it had not been made.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from scopegate.core.headers import REQUEST_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scopegate.core.headers import Field

T = TypeVar("T")

_FORWARDED = b"forwarded"
_FOR = b"x-forwarded-for"
_HOST = b"x-forwarded-host"
_PROTO = b"x-forwarded-proto"
_REAL_IP = b"x-real-ip"
_CLAIMS = frozenset({_FORWARDED, _FOR, _HOST, _PROTO, _REAL_IP})

_SCHEMES = {b"http": b"http", b"https": b"https", b"ws": b"http", b"wss": b"https"}
_UNKNOWN = "unknown"  # RFC 7239 section 6.2; also for the names of section 6.3, which tell us nothing
_LONGEST_CHAIN = 32
_LONGEST_HOST = 261
_REMEMBERED = 4_096
_REMEMBERED_CLAIMS = 1_024
_LONGEST_REMEMBERED = 1_024  # bytes

# Narrower than RFC 3986: nothing by which one host becomes two, or by which a list or a string ends.
_IS_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?").fullmatch
_IS_TOKEN = re.compile(rb"[A-Za-z0-9._~-]+").fullmatch  # of those of RFC 9110, the ones that hosts have
_IS_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,128}").fullmatch
# A node, with the port that some add (RFC 7239 section 6). X-Forwarded-For has IPv6 without brackets too.
_NODE = re.compile(r"(?:([0-9.]{7,15})|\[([0-9A-Fa-f:.]{2,45})\])(?::[0-9]{1,5})?|([0-9A-Fa-f:.]{2,45})")
_NAMELESS = re.compile(r"unknown|_[A-Za-z0-9._-]{1,64}", re.IGNORECASE)
# A pair of Forwarded (RFC 7239 section 4). A string with a comma, a semicolon or a backslash is in doubt.
_PAIR = re.compile(
    rb"[ \t]*([A-Za-z0-9-]{1,32})=(?:([A-Za-z0-9!#$%&'*+.^_`|~-]+)|\"([^\"\\,;\x00-\x1f\x7f-\xff]*)\")[ \t]*"
)


class TrustedProxies:
    """The networks whose hosts may say for whom they forward a request."""

    __slots__ = ("_includes", "networks")

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        self.networks = tuple(networks)
        self._includes = lru_cache(maxsize=_REMEMBERED)(self._look_up)

    @classmethod
    def parse(cls, texts: Iterable[str]) -> TrustedProxies:
        """The networks and addresses that `texts` name; raises `ValueError` with the one that is none."""
        return cls(map(_network, texts))

    def __contains__(self, client: str | None) -> bool:
        return client is not None and bool(self.networks) and self._includes(client)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrustedProxies) and self.networks == other.networks

    def __hash__(self) -> int:
        return hash(self.networks)

    def __reduce__(self) -> tuple[type[TrustedProxies], tuple[object, ...]]:
        return TrustedProxies, (self.networks,)

    def __repr__(self) -> str:
        return f"TrustedProxies({', '.join(map(str, self.networks))})"

    def _look_up(self, client: str) -> bool:
        node = _address(client)
        if node is None:
            return False
        address = ip_address(node)
        return any(address in network for network in self.networks)


class _Claims(NamedTuple):
    """What a trusted peer says: the nodes that the request passed before it, and what they asked for."""

    nodes: tuple[str, ...] = ()
    scheme: bytes | None = None
    host: bytes | None = None


def forwarded_fields(
    headers: Sequence[Field], *, client: str | None, scheme: bytes, host: bytes, trusted: TrustedProxies
) -> tuple[Field, ...]:
    """The fields that tell the upstream for whom, and by which scheme and host, it is called.

    Args:
        headers: the fields as received, with all the claims that are dropped from them later.
        client: the peer's address; None where it has none.
        scheme: by which the peer called: http, https, ws or wss.
        host: the request's Host field, empty if it had none.
        trusted: the peers whose claims count.
    """
    if len(host) > _LONGEST_HOST:
        host = b""
    if client is None or client not in trusted:
        return _of_peer(client, scheme, host)
    claims = tuple([field for field in headers if field[0] in _CLAIMS])
    if not claims:
        return _of_peer(client, scheme, host)
    if sum(len(value) for _, value in claims) > _LONGEST_REMEMBERED:
        return _of_proxy.__wrapped__(claims, client, scheme, host)
    return _of_proxy(claims, client, scheme, host)


def caller(headers: Iterable[Field], *, client: str | None, trusted: TrustedProxies) -> str | None:
    """The address of who called whom we trust: the peer's own, or the newest claim that is not a proxy's.

    None where that has no address, or where a trusted peer does not say.
    """
    if client is None or client not in trusted:
        return _address(client) if client else None
    claims = tuple([field for field in headers if field[0] in _CLAIMS])
    nodes = _read(claims).nodes if claims else ()
    found = next((node for node in reversed(nodes) if node not in trusted), _UNKNOWN)
    return None if found == _UNKNOWN else found


def accepted_request_id(headers: Iterable[Field], client: str | None, trusted: TrustedProxies) -> str | None:
    """The one plain ``X-Request-ID`` that a trusted peer gave."""
    if client is None or client not in trusted:
        return None
    given = [value for name, value in headers if name == REQUEST_ID]
    return given[0].decode("ascii") if len(given) == 1 and _IS_REQUEST_ID(given[0]) else None


# Most requests come from few addresses and ask few hosts.
@lru_cache(maxsize=_REMEMBERED)
def _of_peer(client: str | None, scheme: bytes, host: bytes) -> tuple[Field, ...]:
    return _fields((_node(client),), _SCHEMES.get(scheme), host)


@lru_cache(maxsize=_REMEMBERED_CLAIMS)
def _of_proxy(claims: tuple[Field, ...], client: str, scheme: bytes, host: bytes) -> tuple[Field, ...]:
    nodes, claimed_scheme, claimed_host = _read(claims)
    return _fields((*nodes, _node(client)), claimed_scheme or _SCHEMES.get(scheme), claimed_host or host)


def _fields(nodes: tuple[str, ...], scheme: bytes | None, host: bytes) -> tuple[Field, ...]:
    fields: list[Field] = []
    # Some frameworks read the first element of Forwarded and some the last: each says the whole truth.
    asked = b""
    if nodes != (_UNKNOWN,):
        fields.append((_FOR, ", ".join(nodes).encode("ascii")))
    if scheme is not None:
        fields.append((_PROTO, scheme))
        asked += b";proto=" + scheme
    if _IS_HOST(host):
        fields.append((_HOST, host))
        asked += b";host=" + (host if _IS_TOKEN(host) else b'"%b"' % host)
    fields.append((_FORWARDED, b", ".join(b"for=" + _identifier(node) + asked for node in nodes)))
    return tuple(fields)


def _identifier(node: str) -> bytes:
    # RFC 7239 section 6: an IPv6 address is bracketed, and for its colons quoted.
    return (f'"[{node}]"' if ":" in node else node).encode("ascii")


def _read(claims: tuple[Field, ...]) -> _Claims:
    given: dict[bytes, list[bytes]] = {}
    for name, value in claims:
        given.setdefault(name, []).append(value)
    # A proxy that writes X-Forwarded-* may let pass what its clients wrote into the other two.
    if given.keys() & {_FOR, _HOST, _PROTO}:
        return _Claims(
            _nodes(given.get(_FOR, [])), _scheme(given.get(_PROTO, [])), _host(given.get(_HOST, []))
        )
    if _FORWARDED in given:
        elements = _newest(given[_FORWARDED], _element)
        asked = elements[-1] if elements else _Claims()
        return _Claims(
            tuple(node for element in elements for node in element.nodes), asked.scheme, asked.host
        )
    return _Claims(_nodes(given[_REAL_IP]) if len(given[_REAL_IP]) == 1 else ())


def _newest(values: list[bytes], read: Callable[[bytes], T | None]) -> list[T]:
    """What a list says, from the first item after all that are in doubt: its end is the peer's own."""
    items: list[T] = []
    for text in reversed(b",".join(values).split(b",")):
        item = read(text)
        if item is None or len(items) == _LONGEST_CHAIN:
            break
        items.append(item)
    items.reverse()
    return items


def _nodes(values: list[bytes]) -> tuple[str, ...]:
    return tuple(_newest(values, _claimed_node))


def _element(text: bytes) -> _Claims | None:
    """One element of Forwarded; None if it is in doubt."""
    said: dict[bytes, list[bytes]] = {}
    for pair in text.split(b";"):
        found = _PAIR.fullmatch(pair)
        if found is None:
            return None
        name, token, string = found.groups()
        said.setdefault(name.lower(), []).append(string if token is None else token)
    if any(len(values) > 1 for values in said.values()):
        return None
    node = _claimed_node(said[b"for"][0]) if b"for" in said else _UNKNOWN
    if node is None:
        return None
    return _Claims((node,), _scheme(said.get(b"proto", [])), _host(said.get(b"host", [])))


def _scheme(values: list[bytes]) -> bytes | None:
    return _SCHEMES.get(values[0].strip(b" \t").lower()) if len(values) == 1 else None


def _host(values: list[bytes]) -> bytes | None:
    if len(values) != 1:
        return None
    host = values[0].strip(b" \t")
    return host if _IS_HOST(host) else None


def _claimed_node(value: bytes) -> str | None:
    """The address, in its usual spelling, or `_UNKNOWN`; None if it is neither."""
    text = value.strip(b" \t").decode("latin-1")
    found = _NODE.fullmatch(text)
    if found:
        return _address(next(filter(None, found.groups())))
    return _UNKNOWN if _NAMELESS.fullmatch(text) else None


def _node(client: str | None) -> str:
    return (client and _address(client)) or _UNKNOWN


def _address(text: str) -> str | None:
    """The usual spelling of an address: without a zone, and IPv4 where a socket for both says IPv6."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(address)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        # A zone is a matter of one machine, and peers are compared without theirs.
        return ip_network(text.strip().replace("%", "no zones"))
    except ValueError:
        raise ValueError(f"{text!r} is no network or address, such as 10.0.0.0/8 or ::1") from None
