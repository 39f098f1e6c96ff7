"""What a privilege source is: somebody who says, at the moment of the call, what a user may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from scopegate.core.principal import NO_PRIVILEGES, Privileges

if TYPE_CHECKING:
    from collections.abc import Callable

    from scopegate.core.catalogue import Catalogue
    from scopegate.core.principal import Member
    from scopegate.metrics import PrivilegeMetrics


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Whom a source is asked about, and what is known already.

    ``tenant`` is the tenant's id. ``member`` is the user as the directory has it, who is active there; None
    if the directory does not know the user. ``catalogue`` is the tenant's.
    """

    tenant: str
    user_id: str
    member: Member | None
    catalogue: Catalogue


@dataclass(frozen=True, slots=True)
class Answer:
    """What a source says of a user whom it knows."""

    active: bool
    privileges: Privileges = NO_PRIVILEGES


class PrivilegeSource(Protocol):
    """Says what users may do; it belongs to one event loop.

    ``name`` is how explanations call it. An answer serves for `max_age` seconds from the moment of the
    question, which is for ever where the source tells by itself what changes. Where there is no other
    answer, one that was good serves for `stale_if_error` seconds more.
    """

    @property
    def name(self) -> str:
        """How explanations call it."""
        ...

    @property
    def max_age(self) -> float:
        """The seconds for which an answer serves; infinite where `start` tells of changes."""
        ...

    @property
    def stale_if_error(self) -> float:
        """The seconds for which it serves after that, while there is no other answer."""
        ...

    def start(self, changed: Callable[[], None]) -> None:
        """Keep what makes answers come sooner, and call `changed` when all answers so far are void.

        Before that, nothing is left behind by a question that somebody would have to close.
        """
        ...

    async def ask(self, inquiry: Inquiry) -> Answer | None:
        """What a user may do now, or None for one whom the source does not know.

        Raises:
            PrivilegesUnavailable: nobody can tell.
        """
        ...

    async def aclose(self) -> None:
        """Let go of everything."""
        ...


class SourceOptions(Protocol):
    """Which source is asked, and how; good for any number of event loops."""

    def open(self, metrics: PrivilegeMetrics) -> PrivilegeSource:
        """The source, for the running event loop; what becomes of its questions is counted in `metrics`."""
        ...
