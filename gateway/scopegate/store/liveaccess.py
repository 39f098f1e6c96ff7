"""The live view: the facts of decisions kept in this process, coherent with Redis."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from scopegate.core.errors import StoreUnavailable, UnreadableRecord
from scopegate.metrics import StoreMetrics
from scopegate.store import layout
from scopegate.store.connection import COMMAND_TIMEOUT
from scopegate.store.tracking import ANSWER_WITHIN, HEARTBEAT, Tracking
from scopegate.store.view import NOT_KNOWN, View

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from scopegate.core.catalogue import Catalogue
    from scopegate.core.decision import Scope
    from scopegate.core.keys import KeyText
    from scopegate.core.principal import Principal
    from scopegate.store.access import StoredAccess
    from scopegate.store.canary import Canary
    from scopegate.store.location import Server
    from scopegate.store.servers import Servers
    from scopegate.store.view import NotKnown

    Entitlement = tuple[Principal | None, Catalogue]

T = TypeVar("T")

_SILENT = "Redis does not answer."
MAX_STALENESS = 5.0  # seconds
_KEYS = 100_000
_UNKNOWN_KEYS = 10_000
_TENANTS = 10_000
_USERS_OF_A_TENANT = 100_000
_PAUSE_AFTER_FAILURE = 0.25  # seconds in which a server that failed is not asked again
# Seconds without a sign of life that leave it in doubt whether Redis answers, whatever ended the connection.
_SILENCE = HEARTBEAT + ANSWER_WITHIN / 2


class Observer(Protocol):
    """Who is told what changes, once the views have forgotten it."""

    def key_changed(self, key_id: str) -> None:
        """The record of a key was written or deleted."""

    def user_changed(self, tenant_tag: str, user_id: str) -> None:
        """The record of a user was written or deleted."""

    def policies_changed(self, tenant_tag: str) -> None:
        """What the users of a tenant may do has changed."""

    def everything_changed(self) -> None:
        """Anything may have changed."""

    def told(self, *, from_now_on: bool, silent_for: float = 0.0) -> None:
        """Whether changes are told from now on. What was not told before may be anything.

        `silent_for` is for how many seconds nothing was heard, if they are not.
        """


class _Replies:
    """How far one server can be counted on to answer."""

    __slots__ = ("asked_again_at", "doubtful", "question", "unanswered")

    def __init__(self, *, doubtful: bool) -> None:
        self.doubtful = doubtful  # it may not answer: who is known is not made to wait for it
        self.unanswered = False  # it did not, when it was last asked
        self.question: asyncio.Task[Any] | None = None  # whether it answers again
        self.asked_again_at = float("-inf")

    def came(self) -> None:
        """It has answered."""
        self.doubtful = self.unanswered = False

    def failed(self, asked_again_at: float) -> None:
        """It has not answered."""
        self.doubtful = self.unanswered = True
        self.asked_again_at = asked_again_at

    def have_asked(self, _question: asyncio.Task[Any]) -> None:
        """The question is over."""
        self.question = None


class LiveAccess:
    """Answers from local views while Redis tells every change, and reads through while it does not.

    When the tracking connection is lost, what the views hold is no longer trusted: each request
    reads Redis. Only if Redis cannot be read either, the last known rights count, for at most
    `max_staleness` seconds from its last sign of life; after that, and for whatever is not known,
    nobody can tell. With 0 seconds each request reads Redis, whatever is told.

    Requests do not queue up before a Redis that does not answer: one of them asks now and then
    whether it is back, and all others are told at once what is known, or that nobody can tell.

    An `observer` hears of every change, and when changes may go unnoticed.
    """

    def __init__(
        self,
        stored: StoredAccess,
        redis: Servers,
        *,
        max_staleness: float = MAX_STALENESS,
        observer: Observer | None = None,
        canary: Canary | None = None,
        metrics: StoreMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stored = stored
        self._max_staleness = max_staleness
        self._observer = observer
        self._clock = clock
        self._servers = redis
        self._canary = canary
        self._metrics = metrics or StoreMetrics.apart()
        prefixes = [layout.TENANTS] if canary is None else [layout.TENANTS, canary.prefix]
        self._tracking = Tracking(redis, self, prefixes)
        self.live = False
        self._connections = 0
        self._heard_at = float("-inf")
        self._told = False  # of every change
        self._loss: asyncio.Future[None] | None = None  # of the present connection, for who waits
        self._tasks: set[asyncio.Task[Any]] = set()
        self._silent = False  # nothing was heard for a while when that connection was lost
        self._replies: dict[Server | None, _Replies] = {}
        self._scopes: View[str, Scope] = View(_KEYS, _UNKNOWN_KEYS)
        self._users: dict[str, View[str, Entitlement]] = {}

    def start(self) -> None:
        """Begin to listen for changes, in the running loop."""
        self._tracking.start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._tracking.stop()
        for task in self._tasks:
            task.cancel()

    async def scope(self, key: KeyText) -> Scope | None:
        """As `StoredAccess.scope`."""
        scopes = self._scopes
        if not self.live:
            return await self._read_through(key.tenant_tag, scopes, key.id, lambda: self._stored.scope(key))
        known = scopes.look_up(key.id)
        if known is not NOT_KNOWN:
            return known
        self._metrics.loaded()
        return await self._load(key.tenant_tag, scopes, key.id, lambda: self._stored.scope(key))

    async def of_user(self, tenant_tag: str, user_id: str) -> Entitlement:
        """As `StoredAccess.of_user`."""
        users = self._users.get(tenant_tag)
        if users is None:
            users = self._new_users(tenant_tag)
        if not self.live:
            found = await self._read_through(
                tenant_tag, users, user_id, lambda: self._stored.of_user(tenant_tag, user_id)
            )
        else:
            known = users.look_up(user_id)
            if known is not NOT_KNOWN:
                found = known
            else:
                self._metrics.loaded()
                found = await self._load(
                    tenant_tag, users, user_id, lambda: self._stored.of_user(tenant_tag, user_id)
                )
        if found is None:
            raise StoreUnavailable("The user was not read.")
        return found

    def known_scope(self, key: KeyText) -> Scope | NotKnown | None:
        """What `scope` returns, if that needs no reading."""
        return self._scopes.look_up(key.id) if self.live else NOT_KNOWN

    def known_user(self, tenant_tag: str, user_id: str) -> Entitlement | None:
        """What `of_user` returns, if that needs no reading, else None."""
        users = self._users.get(tenant_tag)
        if users is None or not self.live:
            return None
        known = users.look_up(user_id)
        return None if known is NOT_KNOWN else known

    async def _load(
        self, tenant_tag: str, view: View[str, T], name: str, read: Callable[[], Awaitable[T | None]]
    ) -> T | None:
        loading = view.loading(name, read)
        if self._loss is None:
            self._loss = asyncio.get_running_loop().create_future()
        ends: list[asyncio.Future[Any]] = [loading, self._loss]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            return loading.result()
        return await self._read_through(tenant_tag, view, name, read)

    async def _read_through(
        self, tenant_tag: str, view: View[str, T], name: str, read: Callable[[], Awaitable[T | None]]
    ) -> T | None:
        replies = self._replies_for(tenant_tag)
        if replies.doubtful:
            known = self._last_known(view, name)
            asked_before = replies.question is not None
            if not asked_before and self._clock() >= replies.asked_again_at:
                replies.question = self._begin(self._ask(replies, view, name, read, ANSWER_WITHIN))
                replies.question.add_done_callback(replies.have_asked)
            if known is not None:
                return known
            question = replies.question
            if question is None or (asked_before and replies.unanswered):
                raise StoreUnavailable(_SILENT)
            await asyncio.wait([question])
            if not asked_before:
                answer: T | None = question.result()
                return answer
            if replies.doubtful:
                raise StoreUnavailable(_SILENT)
        try:
            return await self._ask(replies, view, name, read, COMMAND_TIMEOUT)
        except UnreadableRecord:
            raise
        except StoreUnavailable:
            known = self._last_known(view, name)
            if known is None:
                raise
            return known

    def _replies_for(self, tenant_tag: str) -> _Replies:
        server = self._servers.in_charge_of(tenant_tag)
        replies = self._replies.get(server)
        if replies is None:
            replies = self._replies[server] = _Replies(doubtful=self._silent)
        return replies

    async def _ask(
        self,
        replies: _Replies,
        view: View[str, T],
        name: str,
        read: Callable[[], Awaitable[T | None]],
        patience: float,
    ) -> T | None:
        """Read Redis, which has `patience` seconds to answer."""
        # A connection that takes its time is good for the next reading, so nothing is broken off.
        coroutine = self._read(replies, view, name, read, self._clock() + patience)
        reading = self._begin(coroutine)
        await asyncio.wait([reading], timeout=patience)
        if not reading.done():
            replies.failed(self._clock() + _PAUSE_AFTER_FAILURE)
            raise StoreUnavailable(_SILENT)
        return reading.result()

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._have_done)
        return task

    def _have_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # one that nobody looks at would be reported as lost

    async def _read(
        self,
        replies: _Replies,
        view: View[str, T],
        name: str,
        read: Callable[[], Awaitable[T | None]],
        until: float,
    ) -> T | None:
        before = self._connections
        try:
            value = await read()
        except UnreadableRecord:
            replies.came()
            raise
        except StoreUnavailable:
            if self._clock() < until:
                replies.failed(self._clock() + _PAUSE_AFTER_FAILURE)
            raise
        self._metrics.read_through()
        # What comes later may be older than what was read meanwhile.
        if self._clock() < until:
            replies.came()
            # A view that has come alive meanwhile was told of changes that this reading may have missed.
            if not self.live and before == self._connections:
                view.put(name, value)
        return value

    def _last_known(self, view: View[str, T], name: str) -> T | None:
        """What may count while Redis does not answer."""
        value = view.look_up(name)
        if value is NOT_KNOWN or self._clock() - self._heard_at > self._max_staleness:
            return None
        if value is not None:
            self._metrics.last_known()
        return value

    def _new_users(self, tenant_tag: str) -> View[str, Entitlement]:
        if len(self._users) >= _TENANTS:
            self._users.clear()
        users = self._users[tenant_tag] = View(_USERS_OF_A_TENANT, 0)
        return users

    # What the tracking connection tells

    def connected(self) -> None:
        """Trust the views from now on, and nothing that they held before."""
        self._forget_everything()
        self._connections += 1
        self._silent = False
        self._replies.clear()
        self._told = True
        self.heard()
        self.live = self._max_staleness > 0
        if self.live:
            self._metrics.view_is_live()
        if self._canary is not None:
            self._canary.connected(self._tracking.distrust)
        if self._observer is not None:
            self._observer.told(from_now_on=True)

    def disconnected(self) -> None:
        """Trust the views no longer; keep what they hold for the worst case."""
        self.live = False
        self._metrics.view_is_not_live()
        if self._canary is not None:
            self._canary.disconnected()
        if self._told:
            self._told = False
            loss, self._loss = self._loss, None
            if loss is not None:
                loss.set_result(None)
            self._silent = self._clock() - self._heard_at > _SILENCE
            self._replies.clear()
        if self._observer is not None:
            silent_for = self._clock() - self._heard_at if self._connections else 0.0
            self._observer.told(from_now_on=False, silent_for=silent_for)

    def heard(self) -> None:
        """Note the sign of life."""
        self._heard_at = self._clock()
        self._metrics.heard(self._heard_at)
        self._metrics.view_holds(
            keys=len(self._scopes), users=sum(len(users) for users in self._users.values())
        )

    def changed(self, name: bytes) -> None:
        """Forget what came from the value of this name."""
        part = layout.parse(name)
        observer = self._observer
        if part is None:
            self.everything_changed()
        elif part.kind == layout.KEY:
            self._scopes.drop(part.id)
            if observer is not None:
                observer.key_changed(part.id)
        elif part.kind == layout.USER:
            users = self._users.get(part.tag)
            if users is not None:
                users.drop(part.id)
            if observer is not None:
                observer.user_changed(part.tag, part.id)
        elif part.kind in layout.POLICY_KINDS:
            self._users.pop(part.tag, None)
            if observer is not None:
                observer.policies_changed(part.tag)
        elif part.kind == layout.CANARY and self._canary is not None:
            self._canary.told(part.id)

    def everything_changed(self) -> None:
        """Forget everything."""
        self._forget_everything()
        if self._observer is not None:
            self._observer.everything_changed()

    def _forget_everything(self) -> None:
        self._scopes.clear()
        self._users.clear()
