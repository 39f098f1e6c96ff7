"""What administrators can do, one operation a method, with no transport in sight."""

from __future__ import annotations

import re
import secrets
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Unpack

from scopegate.core import keys
from scopegate.core.audit import parse
from scopegate.core.catalogue import Catalogue
from scopegate.core.changes import Change, plan
from scopegate.core.decision import Decision, Scope, decide
from scopegate.core.errors import Conflict, InvalidInput, KeyLimitReached, NotFound
from scopegate.core.explanation import Step, explain
from scopegate.core.keyediting import KeyChanges, edited, with_rules, without_rules
from scopegate.core.keys import KeyRecord, KeyState, KeyType, Rule
from scopegate.core.preview import Gap, gaps
from scopegate.core.reasons import RequestRefused
from scopegate.core.request import CanonicalRequest, canonicalize
from scopegate.core.rotation import DEFAULT_OVERLAP, has_expired, rotated
from scopegate.core.tenants import SCOPED_API
from scopegate.enforcer import utc_now
from scopegate.store.audit import readable_entry
from scopegate.store.keys import no_such_key, scoped_api_off

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from datetime import datetime, timedelta

    from scopegate.core.audit import Selection, Verification
    from scopegate.core.deeds import JsonObject
    from scopegate.core.policies import Policies
    from scopegate.core.principal import Principal, User
    from scopegate.store import Store

_MINTING_ATTEMPTS = 5
_EDITING_ATTEMPTS = 20
_ONLY_TWO = (
    "The secret that was retiring from the rotation before is over now: only two secrets are ever valid."
)
_FULL_URL = re.compile(r"https?://([^/?#]+)(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key that was just created or rotated. ``secret`` is its text; nobody can read it again later."""

    record: KeyRecord
    secret: str = field(repr=False)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EditedKey:
    """A key that was just changed, and what is to be said of it."""

    record: KeyRecord
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a key opens a request, or not."""

    decision: Decision
    request: CanonicalRequest | None
    steps: tuple[Step, ...]


class Commands:
    """The operations on one tenant.

    Args:
        store: where everything is kept.
        key_prefix: what the text of new keys begins with.
        pepper: the HMAC key under which digests are made, if any.
        clock: tells the present moment.
        choose: picks a character at random.
    """

    def __init__(
        self,
        store: Store,
        *,
        key_prefix: str = keys.DEFAULT_PREFIX,
        pepper: bytes | None = None,
        clock: Callable[[], datetime] = utc_now,
        choose: Callable[[str], str] = secrets.choice,
    ) -> None:
        self._store = store
        self._key_prefix = key_prefix
        self._pepper = pepper
        self._clock = clock
        self._choose = choose

    def now(self) -> datetime:
        """The moment that states are told for."""
        return self._clock()

    # Keys

    async def create_key(
        self,
        *,
        key_type: KeyType,
        description: str,
        expires_at: datetime | None = None,
        user: str | None = None,
        rules: tuple[Rule, ...] = (),
    ) -> IssuedKey:
        """Create a key, enabled and ready for use at once (D1).

        Raises:
            InvalidInput: a field breaks a rule of its type, there is no such user, or the user could
                not use a rule (D10).
            FeatureDisabled: it is a custom key and Scoped API is off (D4).
            KeyLimitReached: the tenant has as many keys as it may have (D2).
        """
        now = self._clock()
        for _ in range(_MINTING_ATTEMPTS):
            key = keys.mint(self._store.tenant.tag, self._choose, prefix=self._key_prefix)
            record = KeyRecord(
                id=key.id,
                tenant=self._store.tenant.id,
                type=key_type,
                digest=keys.digest(key, pepper=self._pepper),
                description=description,
                created_at=now,
                expires_at=expires_at,
                user=user,
                rules=rules,
            )
            keys.require_creatable(record, now)
            Scope(record)  # rules that cannot be compiled are refused here, not at every request
            warnings = await self._require_usable(record)
            try:
                await self._store.keys.create(record, now=now)
            except KeyLimitReached:
                raise
            except Conflict:
                continue  # the id is taken
            return IssuedKey(record, key.text, warnings)
        raise Conflict("No free key id was found.", hint="Try again.")

    async def list_keys(self) -> list[KeyRecord]:
        """Every key that counts, newest first."""
        return await self._store.keys.all(now=self._clock())

    async def find_key(self, reference: str) -> KeyRecord:
        """The key with this id, or with an id that alone begins like this.

        Raises:
            NotFound: there is none.
            InvalidInput: there are several, or it is no id; what was given may be a secret, so the
                error does not repeat it.
        """
        if not reference.isalnum() or len(reference) > keys.ID_LENGTH:
            raise InvalidInput(
                "id",
                "That is not the id of a key.",
                hint="An id has 12 letters and digits: the part of a key between its two '_'.",
            )
        if len(reference) == keys.ID_LENGTH:
            return await self._store.keys.get(reference)
        found = [record for record in await self.list_keys() if record.id.startswith(reference)]
        if len(found) > 1:
            raise InvalidInput(
                "id",
                f"{len(found)} keys begin with {reference!r}: {', '.join(record.id for record in found)}.",
                hint="Give more characters.",
            )
        if not found:
            raise no_such_key(reference)
        return found[0]

    async def set_enabled(self, key_id: str, *, enabled: bool) -> KeyRecord:
        """Enable or disable a key; requests see it at once."""
        return await self._store.keys.change(key_id, lambda record: replace(record, enabled=enabled))

    async def extend_key(self, key_id: str, expires_at: datetime | None) -> KeyRecord:
        """Give a key another expiry, also one that expired less than seven days ago.

        Raises:
            InvalidInput: the expiry is not in the future, or the key is of a type that has none.
            NotFound: there is no such key, or its seven days are over.
        """
        now = self._clock()

        def extended(record: KeyRecord) -> KeyRecord:
            if keys.state(record, now) is KeyState.DELETED:
                raise no_such_key(key_id)
            changed = replace(record, expires_at=expires_at)
            keys.require_future_expiry(changed.expires_at, now)
            return changed

        return await self._store.keys.change(key_id, extended)

    async def rotate_key(
        self, key_id: str, *, overlap: timedelta = DEFAULT_OVERLAP, drop_retiring: bool = False
    ) -> IssuedKey:
        """Give a key another secret; the one it had stays valid for `overlap`.

        Args:
            key_id: the whole id of the key.
            overlap: 0 to 7 days.
            drop_retiring: whether a secret that still retires from the rotation before is given up.

        Raises:
            InvalidInput: the overlap is too long.
            NotFound: there is no such key, or its seven days are over.
            Conflict: the key has expired, or a secret of it is still retiring.
        """
        now = self._clock()
        key = keys.with_new_secret(key_id, self._choose, prefix=self._key_prefix)
        digest = keys.digest(key, pepper=self._pepper)
        warnings: tuple[str, ...] = ()

        def edit(record: KeyRecord) -> KeyRecord:
            nonlocal warnings
            if record.digest == digest:
                return record  # it was stored, and only the answer was lost
            if keys.state(record, now) is KeyState.DELETED:
                raise no_such_key(key_id)
            edited = rotated(record, digest, overlap=overlap, now=now, drop_retiring=drop_retiring)
            warnings = () if keys.retiring_at(record, now) is None else (_ONLY_TWO,)
            return edited

        return IssuedKey(await self._store.keys.change(key_id, edit), key.text, warnings)

    async def add_rules(self, key_id: str, rules: tuple[Rule, ...]) -> EditedKey:
        """Have a custom key open more; requests see it at once.

        Raises:
            FeatureDisabled: Scoped API is off (D4).
            InvalidInput: the key is not custom, could not have been created with all these rules, or its
                user could not use a new one (D10).
            NotFound: there is no such key.
        """
        # What can never be done is said before what the flag forbids for now.
        with_rules(await self._store.keys.get(key_id), rules)
        if not await self.scoped_api():
            raise scoped_api_off()
        return await self._edit(
            key_id, lambda record: with_rules(record, rules), checked_from=lambda record: len(record.rules)
        )

    async def remove_rules(
        self, key_id: str, rules: tuple[Rule, ...], *, even_the_last: bool = False
    ) -> EditedKey:
        """Have a custom key open less, also while Scoped API is off; requests see it at once.

        Raises:
            InvalidInput: the key is not custom.
            NotFound: there is no such key, or it has no such rule.
            Conflict: no rule would be left, without `even_the_last`.
        """

        def edit(record: KeyRecord) -> KeyRecord:
            return without_rules(record, rules, even_the_last=even_the_last)

        return EditedKey(await self._store.keys.change(key_id, edit))

    async def edit_key(self, key_id: str, **changes: Unpack[KeyChanges]) -> EditedKey:
        """Give a key another description, expiry or user; requests see it at once.

        Raises:
            InvalidInput: a value breaks a rule of the key's type, there is no such user, or the user
                could not use a rule (D10).
            NotFound: there is no such key, or its seven days are over.
        """
        now = self._clock()

        def edit(record: KeyRecord) -> KeyRecord:
            if keys.state(record, now) is KeyState.DELETED:
                raise no_such_key(key_id)
            return edited(record, changes, now)

        if "user" in changes:
            return await self._edit(key_id, edit)
        return EditedKey(await self._store.keys.change(key_id, edit))

    async def duplicate_key(self, key_id: str, *, description: str) -> IssuedKey:
        """Create a key of the same type, with the same user, rules and expiry.

        Raises:
            NotFound: there is no such key.
            Conflict: it has expired.
            InvalidInput, FeatureDisabled, KeyLimitReached: as `create_key`.
        """
        record = await self._store.keys.get(key_id)
        if keys.state(record, self._clock()) in {KeyState.EXPIRED, KeyState.DELETED}:
            raise has_expired(record)
        return await self.create_key(
            key_type=record.type,
            description=description,
            expires_at=record.expires_at,
            user=record.user,
            rules=record.rules,
        )

    async def _edit(
        self,
        key_id: str,
        edit: Callable[[KeyRecord], KeyRecord],
        *,
        checked_from: Callable[[KeyRecord], int] = lambda _record: 0,
    ) -> EditedKey:
        """Change a key to what its user can use (D10), as that and the key are at the same time.

        `checked_from` tells how many rules of the present record are not looked at.
        """
        for _ in range(_EDITING_ATTEMPTS):
            before = await self._store.keys.get(key_id)
            after = edit(before)
            warnings = await self._require_usable(after, checked_from=checked_from(before))
            try:
                return EditedKey(
                    await self._store.keys.change(key_id, _unless_changed(before, after)), warnings
                )
            except _ChangedMeanwhile:
                continue
        raise Conflict("The key is being changed by others.", hint="Try again.")

    async def delete_key(self, key_id: str) -> None:
        """Delete a key for good; requests see it at once."""
        await self._store.keys.delete(key_id)

    async def explain(self, key_id: str, method: str, url: str) -> Explanation:
        """Why the key opens, or does not open, a request made now; the enforcement's own decision.

        Args:
            key_id: the id of the key; its secret is taken as proved.
            method: the request's method.
            url: a path or a full URL, as a client would send it.
        """
        record = await self._store.keys.get(key_id)
        try:
            request = _request(method, url)
        except RequestRefused as refused:
            decision = Decision(refused.reason)
            return Explanation(decision, None, explain(decision, None))
        principal, catalogue = (
            (None, Catalogue())
            if record.user is None
            else await self._store.access.of_user(self._store.tenant.tag, record.user)
        )
        decision = decide(
            request,
            digest=record.digest,
            scope=Scope(record),
            principal=principal,
            catalogue=catalogue,
            now=self._clock(),
        )
        return Explanation(decision, request, explain(decision, request))

    async def _require_usable(self, record: KeyRecord, *, checked_from: int = 0) -> tuple[str, ...]:
        if record.user is None:
            return ()
        principal, catalogue = await self._store.access.of_user(self._store.tenant.tag, record.user)
        if principal is None:
            raise InvalidInput(
                "user",
                f"There is no user {record.user!r}.",
                hint="List the users with: scopegate user list",
                code="user_not_found",
            )
        if not principal.active:
            raise InvalidInput(
                "user",
                f"The user {record.user!r} is not active, so the key would open nothing.",
                hint=f"Activate the user first: scopegate user activate {record.user}",
                code="user_inactive",
            )
        found = [gap for gap in gaps(record.rules, principal, catalogue) if gap.row > checked_from]
        useless = [gap for gap in found if gap.useless]
        if useless:
            raise _useless(useless, record.user)
        return tuple(gap.sentence for gap in found)

    # Users

    async def list_users(self) -> list[User]:
        """Every user, by id."""
        return await self._store.users.all()

    async def show_user(self, user_id: str) -> tuple[User, Principal]:
        """A user and the privileges held now.

        Raises:
            NotFound: there is no such user.
        """
        user = await self._store.users.get(user_id)
        return user, (await self._store.policies.get()).principal(user)

    async def add_user(self, user: User) -> None:
        """Add a user who is not known yet.

        Raises:
            Conflict: the id is taken.
            NotFound: a role or group is not defined.
        """
        policies = await self._store.policies.get()
        for kind, names, defined in (
            ("role", user.roles, policies.roles),
            ("group", user.groups, policies.groups),
        ):
            for name in sorted(names - defined.keys()):
                raise NotFound(
                    f"There is no {kind} {name!r}.", hint="Define it in policies/roles.yaml and apply."
                )
        await self._store.users.add(user)

    async def put_users(self, users: list[User]) -> None:
        """Store users; an id that is known is replaced."""
        await self._store.users.put(users)

    async def delete_user(self, user_id: str) -> None:
        """Delete a user; keys that are bound to the user open nothing from now on."""
        await self._store.users.delete(user_id)

    async def add_role(self, user_id: str, role: str) -> User:
        """Give a user a role.

        Raises:
            NotFound: there is no such user, or no such role.
        """
        if role not in (await self._store.policies.get()).roles:
            raise NotFound(f"There is no role {role!r}.", hint="Define it in policies/roles.yaml and apply.")
        return await self._store.users.change(user_id, lambda user: replace(user, roles=user.roles | {role}))

    async def remove_role(self, user_id: str, role: str) -> User:
        """Take a role from a user; requests see it at once.

        Raises:
            NotFound: there is no such user, or the user does not hold the role directly.
        """

        def without(user: User) -> User:
            if role not in user.roles:
                raise NotFound(
                    f"{user_id!r} does not hold the role {role!r} directly.",
                    hint=f"See what is held with: scopegate user show {user_id}",
                )
            return replace(user, roles=user.roles - {role})

        return await self._store.users.change(user_id, without)

    async def set_active(self, user_id: str, *, active: bool) -> User:
        """Activate or deactivate a user, whose keys stop at once."""
        return await self._store.users.change(user_id, lambda user: replace(user, active=active))

    # Policies and flags

    async def plan_policies(self, desired: Policies) -> tuple[Change, ...]:
        """What applying `desired` would change."""
        return plan(await self._store.policies.get(), desired)

    async def apply_policies(self, desired: Policies) -> tuple[Change, ...]:
        """Put `desired` into force in one step, and say what that changed.

        Raises:
            InvalidInput: its catalogue cannot be compiled.
        """
        desired.catalogue()
        return await self._store.policies.put(desired)

    async def scoped_api(self) -> bool:
        """Whether custom keys can be created and given rules (D4)."""
        return await self._store.policies.flag(SCOPED_API)

    async def set_scoped_api(self, *, on: bool) -> None:
        """Turn the creation of custom keys on or off; keys that exist keep working."""
        await self._store.policies.set_flag(SCOPED_API, on=on)

    # The audit log

    async def list_audit(self, selection: Selection, limit: int) -> list[JsonObject]:
        """The newest entries that are asked for, `limit` at most, newest first.

        Raises:
            UnreadableRecord: an entry means nothing.
        """
        found: list[JsonObject] = []
        async with aclosing(self._store.audit.backwards()) as lines:
            async for line in lines:
                with readable_entry():
                    said = parse(line)
                    if selection.admits(said):
                        found.append(said)
                if len(found) == limit:
                    break
        return found

    async def verify_audit(self) -> Verification:
        """Whether the log is whole: nothing changed, removed, added or moved."""
        return await self._store.audit.verify()

    def export_audit(self) -> AsyncGenerator[bytes, None]:
        """The lines of all entries that are kept, oldest first."""
        return self._store.audit.forwards()


class _ChangedMeanwhile(Exception):
    """The key is not any more what the change was checked against."""


def _unless_changed(before: KeyRecord, after: KeyRecord) -> Callable[[KeyRecord], KeyRecord]:
    def edit(record: KeyRecord) -> KeyRecord:
        if record not in (before, after):  # the latter where it was stored, and only the answer was lost
            raise _ChangedMeanwhile
        return after

    return edit


def _request(method: str, url: str) -> CanonicalRequest:
    if url.startswith("/"):
        target, host = url, None
    else:
        full = _FULL_URL.fullmatch(url)
        if full is None:
            raise InvalidInput(
                "url", f"{url!r} is not a URL.", hint="Start with / or https://host/.", code="url_invalid"
            )
        host = full[1].encode("utf-8")
        target = full[2] if full[2].startswith("/") else f"/{full[2]}"
    path, _, query = target.partition("?")
    return canonicalize(method, path.encode("utf-8"), query=query.encode("utf-8"), host=host)


def _useless(found: list[Gap], user: str) -> InvalidInput:
    missing = sorted({privilege for gap in found for privilege in gap.missing})
    return InvalidInput(
        "rules",
        " ".join(gap.sentence for gap in found),
        hint=f"Give {user} the missing privileges ({', '.join(missing)}), or remove the rows."
        if missing
        else "Add the endpoints to the catalogue, or remove the rows.",
        code="privileges_missing",
    )
