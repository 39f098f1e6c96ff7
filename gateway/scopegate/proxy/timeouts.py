"""How long the proxy waits for what."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Bounds in seconds.

    ``connect`` covers name resolution, TCP and TLS; ``head`` the time from the last byte of the
    request to the head of the answer; ``idle`` the time between two pieces of a body in either
    direction; ``pool`` the wait for one of ``max_connections``; ``total`` the whole exchange, and 0
    sets it no bound.
    """

    connect: float = 5.0
    head: float = 60.0
    idle: float = 60.0
    pool: float = 5.0
    total: float = 0.0

    def __post_init__(self) -> None:
        if not self.total >= 0:
            raise ValueError("timeout 'total' must be 0, which means none, or more seconds")
        for field in fields(self):
            if field.name != "total" and not getattr(self, field.name) > 0:
                raise ValueError(f"timeout {field.name!r} must be more than 0 seconds")
