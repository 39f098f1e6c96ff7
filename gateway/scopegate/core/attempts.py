"""Failed authentications, and when an origin of too many is told no more than that.

Nothing is remembered of anybody by name. Each origin has a few of many cells, chosen by a keyed hash,
and a cell says until when the failures counted in it last (the generic cell rate algorithm, which is a
token bucket in one number). An origin is over the limit if all of its cells say so. So:

- memory is one block of fixed size, whoever comes;
- no state makes room for other state: failures are forgotten by the passing of time alone;
- no origin is ever allowed more than the limit; one that shares all its cells with origins that are
  over theirs is allowed less. That takes very many of those at a time, and whoever does not know the
  hash's key cannot choose whom it meets.
"""

from __future__ import annotations

import struct
from array import array
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

from scopegate.core.errors import InvalidInput
from scopegate.core.forwarding import caller
from scopegate.core.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scopegate.core.forwarding import TrustedProxies
    from scopegate.core.headers import Field

FAILURES = frozenset({Reason.KEY_MALFORMED, Reason.KEY_UNKNOWN, Reason.KEY_SECRET_WRONG, Reason.KEY_DELETED})
DEFAULT_LIMIT = 60  # failures a minute
HIGHEST_LIMIT = 1_000_000
CELLS = 65_536  # of eight bytes
_MINUTE = 60_000_000_000  # nanoseconds
_SECOND = 1_000_000_000
_places = struct.Struct("4H").unpack
_NETWORK = 8  # bytes of an IPv6 address that are the network's (RFC 4291 section 2.5.4)
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: all of IPv4, in what is one network otherwise


def origin_of(headers: Sequence[Field], *, client: str | None, trusted: TrustedProxies) -> bytes | None:
    """Whose failures count together: one IPv4 address, or one IPv6 network of 64 bits.

    None where nobody can tell, and failures must not be held against anybody: a private address may
    be that of a proxy that the operator did not name, with everybody behind it.

    Args:
        headers: the fields as received, with the claims of proxies.
        client: the peer's address; None where it has none.
        trusted: the peers whose claims count.
    """
    text = caller(headers, client=client, trusted=trusted)
    if text is None:
        return None
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address in _NAT64:
        address = IPv4Address(address.packed[-4:])
    if not address.is_global:
        return None
    return address.packed[:_NETWORK]


class FailureLimit:
    """Bounds the failures of each origin: so many at once, and from then on so many a minute.

    Times are nanoseconds on a clock that does not go back, and that began at 0.

    Args:
        a_minute: how many.
        secret: the key of the hash.
        cells: how much there is to remember in.

    Raises:
        InvalidInput: there is no such limit.
    """

    def __init__(self, a_minute: int, *, secret: bytes, cells: int = CELLS) -> None:
        if not 1 <= a_minute <= HIGHEST_LIMIT:
            raise InvalidInput(
                "failed_auth_limit",
                f"{a_minute} failures a minute are no limit.",
                hint=f"Allow 1 to {HIGHEST_LIMIT}, or set 0 for no limit.",
            )
        self._secret = secret
        self._interval = _MINUTE // a_minute
        self._slack = self._interval * (a_minute - 1)
        self._cells = array("q", bytes(8 * cells))

    def wait(self, origin: bytes, now: int) -> int:
        """The time until a failure of `origin` would be within the limit; 0 if it would be now."""
        return self._wait(self._of(origin), now)

    def count(self, origin: bytes, now: int) -> int:
        """Note a failure of `origin`: 0, or the time to wait if it is one too many.

        One too many does not count, so who goes on failing waits no longer than who stops.
        """
        places = self._of(origin)
        wait = self._wait(places, now)
        if not wait:
            cells = self._cells
            until = max(now, min([cells[place] for place in places])) + self._interval
            for place in places:
                cells[place] = max(cells[place], until)
        return wait

    def _wait(self, places: Sequence[int], now: int) -> int:
        return max(0, min([self._cells[place] for place in places]) - self._slack - now)

    def _of(self, origin: bytes) -> list[int]:
        number = len(self._cells)
        return [
            place % number for place in _places(blake2b(origin, digest_size=8, key=self._secret).digest())
        ]


def in_seconds(wait: int) -> int:
    """A time to wait as ``Retry-After`` has it: whole seconds, not too few."""
    return -(-wait // _SECOND)
