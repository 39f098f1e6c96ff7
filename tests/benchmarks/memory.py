"""What the processes of a gateway hold in memory, and which of them is the worker, from /proc."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
_KIB = 1024


@dataclass(frozen=True)
class Memory:
    """Bytes: resident now, at the highest, and what is left when shared pages are divided."""

    resident: int
    highest: int
    proportional: int


def memory(pid: int) -> Memory:
    """What a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return Memory(_size(status, "VmRSS"), _size(status, "VmHWM"), _size(rollup, "Pss"))


def _size(text: str, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None, field
    return int(found[1]) * _KIB


def forget_highest(pid: int) -> None:
    """Let the highest mark begin anew at what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for member in found:
        for task in Path(f"/proc/{member}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def holder(connection: socket.socket, pid: int) -> int:
    """The member of a family of processes that holds the other end of a loopback connection."""
    inode = _inode(connection.getpeername(), connection.getsockname())
    for member in family(pid):
        for descriptor in Path(f"/proc/{member}/fd").iterdir():
            try:
                target = str(descriptor.readlink())
            except FileNotFoundError:  # closed meanwhile
                continue
            if target == f"socket:[{inode}]":
                return member
    raise AssertionError("no process holds the connection")


def _inode(local: tuple[str, int], remote: tuple[str, int]) -> str:
    wanted = [_as_in_proc(*local), _as_in_proc(*remote)]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1:3] == wanted:
            return fields[9]
    raise AssertionError("the connection is not known to the kernel")


def _as_in_proc(host: str, port: int) -> str:
    return f"{socket.inet_aton(host)[::-1].hex().upper()}:{port:04X}"
