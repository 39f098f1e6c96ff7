"""Access facts whose privileges come from a privilege source, kept no longer than they may be."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from scopegate.core.errors import PrivilegesUnavailable, StoreUnavailable
from scopegate.core.principal import Member, Principal, Testimony
from scopegate.privileges.source import Inquiry

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from scopegate.core.decision import Scope
    from scopegate.core.keys import KeyText
    from scopegate.enforcer import AccessSource, Entitlement
    from scopegate.privileges.source import PrivilegeSource
    from scopegate.store.liveaccess import Observer
    from scopegate.store.view import NotKnown

Place = tuple[str, str]  # a tenant's tag and a user's id

_USERS = 100_000  # whose answers are kept
_RENEWED_AT = 0.8  # of its age, an answer that is in use is renewed
_TICKS = 10  # in each age, at which it is looked whose answers are due
_SHORTEST_WATCH = 1.0  # seconds; what is open is not asked about more often
_NEVER = float("inf")
_utc_now = partial(datetime.now, UTC)


class _Known:
    """An answer, and the facts of the directory that it belongs to. Moments are seconds since some moment."""

    __slots__ = ("began", "entitlement", "facts", "fresh_until", "renew_at", "usable_until")

    def __init__(
        self, facts: Entitlement, entitlement: Entitlement, began: float, source: PrivilegeSource
    ) -> None:
        self.facts = facts
        self.entitlement = entitlement
        self.began = began  # the question
        self.renew_at = began + source.max_age * _RENEWED_AT
        self.fresh_until = began + source.max_age
        self.usable_until = self.fresh_until + source.stale_if_error


class _Flight:
    """A question that is under way."""

    __slots__ = ("began", "facts", "generation", "task")

    def __init__(self, facts: Entitlement, began: float, generation: int) -> None:
        self.facts = facts
        self.began = began
        self.generation = generation
        self.task: asyncio.Task[Entitlement] | None = None


class SourcedAccess:
    """What an `AccessSource` says of keys, catalogues and who may have nothing, and a source of the rest.

    - Whom the directory has as inactive has nothing, at once, whatever the source says.
    - Whoever else there is, and what they may do, the source says.
    - An answer serves while it is fresh, and while the directory says what it said when it was given.
    - Questions about one user that come together are one question.

    Answers that are in use are renewed before they are too old, so that hardly anybody waits for them.

    Args:
        inner: says what the directory knows, with users as `core.principal.Member`.
        source: belongs to the running event loop, and is closed with this.
        ticks: tells the seconds since some moment.
        clock: tells the present moment.
    """

    def __init__(
        self,
        inner: AccessSource,
        source: PrivilegeSource,
        *,
        ticks: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._source = source
        self._ticks = ticks
        self._clock = clock
        self._observer: Observer | None = None
        self._in_use: Callable[[], Iterable[Place]] = tuple
        self._known: dict[Place, _Known] = {}
        self._flights: dict[Place, _Flight] = {}
        self._generation = 0  # of answers; all of one before are void
        self._renewing: set[Place] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._tenants: dict[str, str] = {}  # by tag; there are as many as there are tenants with keys
        self.ask_of(inner)

    def ask_of(self, inner: AccessSource) -> None:
        """Ask another one what the directory knows, from now on."""
        self._inner = inner
        self.known_scope: Callable[[KeyText], Scope | NotKnown | None] = inner.known_scope

    def start(self, observer: Observer, in_use: Callable[[], Iterable[Place]]) -> None:
        """Keep answers, and look after what is open, in the running loop.

        Before that, each question is asked anew: there may be nobody who would tell that an answer is void.

        `observer` is told whose privileges have changed, and which users `in_use` nobody can tell them of.
        """
        if self._watch is not None:
            return
        self._observer = observer
        self._in_use = in_use
        self._source.start(self._forget)
        self._watch = asyncio.create_task(self._keep_watch())

    async def aclose(self) -> None:
        """Stop looking, and close the source."""
        tasks = [*self._tasks, *([] if self._watch is None else [self._watch])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._source.aclose()

    def introduce(self, tenant_tag: str, tenant: str) -> None:
        """The tenant with this tag has this id. Whose keys are read need not be introduced."""
        self._tenants[tenant_tag] = tenant

    async def scope(self, key: KeyText) -> Scope | None:
        """As `AccessSource.scope`."""
        scope = await self._inner.scope(key)
        if scope is not None:
            self._tenants[key.tenant_tag] = scope.record.tenant
        return scope

    def known_user(self, tenant_tag: str, user_id: str) -> Entitlement | None:
        """What `of_user` would return, if that can be told without asking anybody, else None."""
        facts = self._inner.known_user(tenant_tag, user_id)
        if facts is None:
            return None
        place = (tenant_tag, user_id)
        known = self._known.get(place)
        if known is None or known.facts is not facts:
            return facts if _is_barred(facts) else None
        now = self._ticks()
        if now >= known.renew_at:
            if now >= known.fresh_until:
                return None
            known.renew_at = known.fresh_until
            self._renew_soon(place)
        return known.entitlement

    async def of_user(self, tenant_tag: str, user_id: str) -> Entitlement:
        """The user (None if unknown to who says so) and the catalogue.

        Raises:
            StoreUnavailable, PrivilegesUnavailable: nobody can tell.
        """
        facts = await self._inner.of_user(tenant_tag, user_id)
        if _is_barred(facts):
            return facts
        place = (tenant_tag, user_id)
        known = self._of_same_facts(place, facts)
        if known is not None and self._ticks() < known.fresh_until:
            return known.entitlement
        try:
            return await self._ask(place, facts)
        except PrivilegesUnavailable:
            # Another question may have been answered meanwhile: what counts is the last answer.
            known = self._of_same_facts(place, facts)
            if known is None or self._ticks() >= known.usable_until:
                raise
            return known.entitlement

    def _of_same_facts(self, place: Place, facts: Entitlement) -> _Known | None:
        known = self._known.get(place)
        if known is None or known.facts != facts:
            return None
        known.facts = facts  # so that the next look finds the very same
        return known

    async def _ask(self, place: Place, facts: Entitlement) -> Entitlement:
        """Ask the source, or wait with whoever asked not too long ago."""
        flight = self._flights.get(place)
        # A question that began before is as good as one that begins now for the age of an answer.
        if (
            flight is None
            or flight.task is None
            or flight.facts != facts
            or self._ticks() >= flight.began + self._source.max_age
        ):
            flight = self._flights[place] = _Flight(facts, self._ticks(), self._generation)
            flight.task = self._begin(self._question(place, flight))
        # One who gives up must not take the answer from the others.
        return await asyncio.shield(flight.task)

    async def _question(self, place: Place, flight: _Flight) -> Entitlement:
        tenant_tag, user_id = place
        member, catalogue = flight.facts
        testimony = Testimony(self._source.name, self._clock())
        try:
            tenant = self._tenants.get(tenant_tag)
            if tenant is None:
                raise PrivilegesUnavailable("Nobody has said which tenant the user is of.")
            known = member if isinstance(member, Member) else None
            answer = await self._source.ask(Inquiry(tenant, user_id, known, catalogue))
            principal = (
                None if answer is None else Principal(user_id, answer.active, answer.privileges, testimony)
            )
            if flight.generation == self._generation:
                self._remember(
                    place, _Known(flight.facts, (principal, catalogue), flight.began, self._source)
                )
            return principal, catalogue
        finally:
            if self._flights.get(place) is flight:
                del self._flights[place]

    def _remember(self, place: Place, known: _Known) -> None:
        if self._watch is None:
            return
        before = self._known.get(place)
        if before is not None and before.began > known.began:
            return  # who asked later knows better
        self._known.pop(place, None)
        if len(self._known) >= _USERS:
            del self._known[next(iter(self._known))]
        self._known[place] = known
        changed = before is not None and before.entitlement[0] != known.entitlement[0]
        if changed and self._observer is not None:
            self._observer.user_changed(*place)

    def _forget(self) -> None:
        """All answers so far are void, those included that are on their way."""
        self._generation += 1
        self._known.clear()
        self._flights.clear()
        if self._observer is not None:
            self._observer.everything_changed()

    # What is in use

    async def _keep_watch(self) -> None:
        """Have the answers renewed by which something is open, before they are too old."""
        age = max(self._source.max_age, _SHORTEST_WATCH)
        if age == _NEVER:
            return
        while True:
            await asyncio.sleep(age / _TICKS)
            now = self._ticks()
            for place in self._in_use():
                known = self._known.get(place)
                if known is None or now >= known.began + age * _RENEWED_AT:
                    self._renew_soon(place)
                if known is None or now >= known.began + age + self._source.stale_if_error:
                    self._tell(place)

    def _tell(self, place: Place) -> None:
        """Nobody can tell any more what is open for; whoever judges it asks once more."""
        if self._observer is not None:
            self._observer.user_changed(*place)

    def _renew_soon(self, place: Place) -> None:
        if place not in self._renewing:
            self._renewing.add(place)
            self._begin(self._renew(place))

    async def _renew(self, place: Place) -> None:
        try:
            facts = await self._inner.of_user(*place)
            if not _is_barred(facts):
                await self._ask(place, facts)
        except (PrivilegesUnavailable, StoreUnavailable):
            pass  # the answer that there is serves as long as it may
        finally:
            self._renewing.discard(place)

    def _begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._have_done)
        return task

    def _have_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # one that nobody looks at would be reported as lost


def _is_barred(facts: Entitlement) -> bool:
    """Whether the directory itself says that the user may do nothing."""
    principal = facts[0]
    return principal is not None and not principal.active
