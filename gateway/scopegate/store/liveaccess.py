"""The live view: the facts of decisions kept in this process, coherent with Redis."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from scopegate.core.errors import StoreUnavailable, UnreadableRecord
from scopegate.metrics import StoreMetrics
from scopegate.store import layout
from scopegate.store.tracking import Tracking
from scopegate.store.view import NOT_KNOWN, View

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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

MAX_STALENESS = 5.0  # seconds
_KEYS = 100_000
_UNKNOWN_KEYS = 10_000
_TENANTS = 10_000
_USERS_OF_A_TENANT = 100_000
_PAUSE_AFTER_FAILURE = 0.25  # seconds in which the server that failed is not asked again


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

    def told(self, *, from_now_on: bool) -> None:
        """Whether changes are told from now on. What was not told before may be anything."""


class LiveAccess:
    """Answers from local views while Redis tells every change, and reads through while it does not.

    When the tracking connection is lost, what the views hold is no longer trusted: each request
    reads Redis. Only if Redis cannot be read either, the last known rights count, for at most
    `max_staleness` seconds from its last sign of life; after that, and for whatever is not known,
    nobody can tell. With 0 seconds each request reads Redis, whatever is told.

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
        self._asked_again_at: dict[Server | None, float] = {}
        self._scopes: View[str, Scope] = View(_KEYS, _UNKNOWN_KEYS)
        self._users: dict[str, View[str, Entitlement]] = {}

    def start(self) -> None:
        """Begin to listen for changes, in the running loop."""
        self._tracking.start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._tracking.stop()

    async def scope(self, key: KeyText) -> Scope | None:
        """As `StoredAccess.scope`."""
        scopes = self._scopes
        if not self.live:
            return await self._read_through(key.tenant_tag, scopes, key.id, lambda: self._stored.scope(key))
        known = scopes.look_up(key.id)
        if known is not NOT_KNOWN:
            return known
        self._metrics.loaded()
        return await scopes.load(key.id, lambda: self._stored.scope(key))

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
                found = await users.load(user_id, lambda: self._stored.of_user(tenant_tag, user_id))
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

    async def _read_through(
        self, tenant_tag: str, view: View[str, T], name: str, read: Callable[[], Awaitable[T | None]]
    ) -> T | None:
        before = self._connections
        server = self._servers.in_charge_of(tenant_tag)
        if self._clock() < self._asked_again_at.get(server, 0.0):
            return self._last_known(view, name)
        try:
            value = await read()
        except UnreadableRecord:
            raise
        except StoreUnavailable:
            self._asked_again_at[server] = self._clock() + _PAUSE_AFTER_FAILURE
            return self._last_known(view, name)
        self._metrics.read_through()
        # A view that has come alive meanwhile was told of changes that this reading may have missed.
        if not self.live and before == self._connections:
            view.put(name, value)
        return value

    def _last_known(self, view: View[str, T], name: str) -> T:
        value = view.look_up(name)
        if value is None or value is NOT_KNOWN or self._clock() - self._heard_at > self._max_staleness:
            raise StoreUnavailable("Redis does not answer.")
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
        self._asked_again_at.clear()
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
        if self._observer is not None:
            self._observer.told(from_now_on=False)

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
