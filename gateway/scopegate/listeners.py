"""The sockets on which the gateway listens."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

from scopegate.core.errors import ConfigurationError

if TYPE_CHECKING:
    from scopegate.settings import Address

_BACKLOG = 2_048
_POLL = 0.02  # seconds
_SO_ATTACH_FILTER = 26  # linux/socket.h; Python has no name for it
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K, 0: keep no byte of the segment


def require_free(setting: str, address: Address) -> None:
    """Make sure that nobody listens at `address`.

    The workers bind with SO_REUSEPORT, so that they share the port; another program that does the
    same would then silently take half of the requests.

    Raises:
        ConfigurationError: the address is in use, or is not one of this machine.
    """
    try:
        family, kind, protocol, _, resolved = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(resolved)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "that is no host name"
        raise ConfigurationError(
            setting,
            f"Cannot listen on {address}: {reason}.",
            hint="Stop the program that uses the address, or choose another one.",
        ) from error


def listen(address: Address, count: int) -> list[socket.socket]:
    """`count` sockets that share `address`, among which the kernel deals new connections out.

    Each is for one worker and stays open in the parent, so that who waits for a worker that dies is
    served by the next one.
    """
    family, kind, protocol, _, resolved = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
    listeners = []
    for _ in range(count):
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if count > 1:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(resolved)
        listener.listen(_BACKLOG)
        listener.settimeout(0)
        listeners.append(listener)
    return listeners


def leave_to_workers(listeners: list[socket.socket]) -> None:
    """Let nobody new in, and leave who waits to be accepted to the workers.

    The last close of a listener resets the connections in its backlog, and until that moment there
    are new ones. Where the kernel can do it (Linux), their first segments are dropped before: they
    are sent again, and find the port closed.
    """
    program = ctypes.create_string_buffer(_DROP_ALL)
    filtering = struct.pack("HL", 1, ctypes.addressof(program))
    for listener in listeners:
        if sys.platform == "linux":
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filtering)
        listener.close()


def wait_until_listening(address: Address) -> None:
    """Return when somebody listens at `address`."""
    while True:
        try:
            with socket.create_connection(address.reachable, timeout=1.0):
                return
        except OSError:
            time.sleep(_POLL)


def numeric(host: str) -> str:
    """`host` as an IP address."""
    resolved: Any = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]
    return str(resolved)
