"""The audit log: what an entry says, and the chain of hashes that shows what became of the entries.

An entry is one line of canonical JSON: members in the order of their names, no white space, UTF-8. Its
member ``previous`` is the hash of the entry before it, and ``hash`` is the SHA-256 of the line without
``hash``. So each hash stands for all that was written before it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scopegate.core.changes import Change
    from scopegate.core.keys import KeyRecord
    from scopegate.core.principal import User

JsonObject = dict[str, Any]

DEFAULT_RETENTION = 100_000  # entries
LONGEST_REASON = 500  # characters
NOT_SHOWN = "(not shown)"
_HASH = "hash"
_TEXTS = (_HASH, "previous", "at", "actor", "origin", "action")
# Of any other field of a key, a secret's digest first of all, an entry shows only that it changed.
_SHOWN_OF_KEYS = frozenset({"type", "description", "created_at", "enabled", "expires_at", "user", "rules"})


class Action(StrEnum):
    """What was done."""

    KEY_CREATE = "key.create"
    KEY_ENABLE = "key.enable"
    KEY_DISABLE = "key.disable"
    KEY_EXTEND = "key.extend"
    KEY_ROTATE = "key.rotate"
    KEY_RULES = "key.rules"
    KEY_EDIT = "key.edit"
    KEY_DELETE = "key.delete"
    USER_ADD = "user.add"
    USER_PUT = "user.put"
    USER_ROLE_ADD = "user.role.add"
    USER_ROLE_REMOVE = "user.role.remove"
    USER_ACTIVATE = "user.activate"
    USER_DEACTIVATE = "user.deactivate"
    USER_EDIT = "user.edit"
    USER_DELETE = "user.delete"
    POLICIES_APPLY = "policies.apply"
    FLAG_SET = "flag.set"


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes something, from where, and why if that was said."""

    actor: str
    origin: str
    reason: str | None = None


# Whoever nobody named. A sweep that enters the deletion of expired keys would be its work.
SYSTEM = Author("system", "scopegate")


@dataclass(frozen=True, slots=True)
class Deed:
    """What was done to what. ``changed`` has, by name, what was there before and what is there now."""

    action: Action
    kind: str
    id: str
    changed: Mapping[str, JsonObject]


@dataclass(frozen=True, slots=True)
class Link:
    """One place of the chain: the number of an entry, and its hash."""

    sequence: int
    hash: str


START = Link(0, "0" * 64)  # what the first entry of all follows


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where the entries that are kept begin and end.

    ``anchor`` is the last entry that is no longer kept, ``head`` the newest one.
    """

    anchor: Link = START
    head: Link = START


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change: who did what, when, from where and why. ``at`` is aware."""

    sequence: int
    previous: str
    at: datetime
    author: Author
    deed: Deed

    def seal(self) -> tuple[bytes, Link]:
        """The line of this entry, and its place in the chain."""
        said: JsonObject = {
            "sequence": self.sequence,
            "previous": self.previous,
            "at": _moment(self.at),
            "actor": self.author.actor,
            "origin": self.author.origin,
            "reason": self.author.reason,
            "action": self.deed.action.value,
            "target": {"kind": self.deed.kind, "id": self.deed.id},
            "changed": dict(self.deed.changed),
        }
        digest = _digest(said)
        return _canonical({**said, _HASH: digest}), Link(self.sequence, digest)


def parse(line: bytes) -> JsonObject:
    """What the line of an entry says, its hash included.

    Raises:
        ValueError: it is not canonical JSON of an entry.
    """
    try:
        said = json.loads(line)
        canonical = isinstance(said, dict) and _canonical(said) == line
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not canonical:
        raise ValueError("no canonical JSON object")
    target = said.get("target")
    if (
        type(said.get("sequence")) is not int
        or not all(isinstance(said.get(name), str) for name in _TEXTS)
        or not isinstance(said.get("reason", ""), str | None)
        or not _are_differences(said.get("changed"))
        or not isinstance(target, dict)
        or not all(isinstance(target.get(name), str) for name in ("kind", "id"))
    ):
        raise ValueError("no entry")
    parsed: JsonObject = said
    return parsed


def _are_differences(changed: object) -> bool:
    return isinstance(changed, dict) and all(
        isinstance(one, dict) and one.keys() == {"before", "after"} for one in changed.values()
    )


def link(said: JsonObject) -> Link:
    """The place in the chain that a parsed entry claims."""
    return Link(said["sequence"], said[_HASH])


def anchor_of(line: bytes) -> Link:
    """What the entry of a line claims to follow; the start of all where the line cannot be read."""
    try:
        said = parse(line)
    except ValueError:
        return START
    return Link(said["sequence"] - 1, said["previous"])


@dataclass(frozen=True, slots=True)
class Selection:
    """Which entries are asked for; what is None selects all. ``key_id`` may be the beginning of an id."""

    key_id: str | None = None
    actor: str | None = None
    since: datetime | None = None

    def admits(self, said: JsonObject) -> bool:
        """Whether a parsed entry is among them.

        Raises:
            ValueError: nobody can tell when it was written.
        """
        target = said["target"]
        if self.key_id is not None and not (target["kind"] == "key" and target["id"].startswith(self.key_id)):
            return False
        if self.actor is not None and said["actor"] != self.actor:
            return False
        if self.since is None:
            return True
        at = datetime.fromisoformat(said["at"])
        if at.tzinfo is None:
            raise ValueError("no offset")
        return at >= self.since


@dataclass(frozen=True, slots=True)
class Break:
    """The first place where a chain is not what it was. ``sequence`` is that of the entry expected there."""

    sequence: int
    what: str


@dataclass(slots=True)
class Verification:
    """Follows a chain entry by entry, from `reached` on, and keeps the first break that it meets."""

    reached: Link
    count: int = 0
    broken: Break | None = field(default=None)

    def follow(self, line: bytes) -> bool:
        """Take in the next entry; whether the chain is whole so far."""
        if self.broken is not None:
            return False
        due = self.reached.sequence + 1
        try:
            said = parse(line)
        except ValueError:
            self.broken = Break(due, "the entry cannot be read")
            return False
        what = self._fault(said, due)
        if what is not None:
            self.broken = Break(due, what)
            return False
        self.reached = link(said)
        self.count += 1
        return True

    def end(self, head: Link) -> Break | None:
        """The first break, after the last entry was taken in; the newest entry has to be `head`."""
        if self.broken is None and self.reached != head:
            if self.reached.sequence < head.sequence:
                last = head.sequence
                what = f"entries are missing at the end: the newest was {last}"
                self.broken = Break(self.reached.sequence + 1, what)
            elif self.reached.sequence > head.sequence:
                self.broken = Break(head.sequence + 1, "entries stand behind the newest one")
            else:
                self.broken = Break(head.sequence, "the newest entry is another one")
        return self.broken

    def _fault(self, said: JsonObject, due: int) -> str | None:
        without = {name: value for name, value in said.items() if name != _HASH}
        if _digest(without) != said[_HASH]:
            return "the entry was changed"
        if said["sequence"] > due:
            return f"entries are missing: {said['sequence']} stands in its place"
        if said["sequence"] < due:
            return f"the entry is out of place: {said['sequence']} stands there"
        if said.get("previous") != self.reached.hash:
            return "the entry does not follow the one before it"
        return None


def verify(lines: Iterable[bytes], bounds: Bounds) -> Break | None:
    """The first break in entries that should lie within `bounds`, or None if there is none."""
    verification = Verification(bounds.anchor)
    for line in lines:
        if not verification.follow(line):
            break
    return verification.end(bounds.head)


# What is done, told from what was there and what is there


def key_created(record: KeyRecord) -> Deed:
    """A new key."""
    return Deed(Action.KEY_CREATE, "key", record.id, _differences({}, _of_key(record)))


def key_changed(before: KeyRecord, after: KeyRecord) -> Deed | None:
    """Another record of the same key; None if it is the same record."""
    hidden = {
        one.name: {"before": NOT_SHOWN, "after": NOT_SHOWN}
        for one in fields(before)
        if one.name not in _SHOWN_OF_KEYS and getattr(before, one.name) != getattr(after, one.name)
    }
    changed = {**_differences(_of_key(before), _of_key(after)), **hidden}
    if not changed:
        return None
    match sorted(changed):
        case ["enabled"]:
            action = Action.KEY_ENABLE if after.enabled else Action.KEY_DISABLE
        case ["expires_at"]:
            action = Action.KEY_EXTEND
        case ["rules"]:
            action = Action.KEY_RULES
        case names if "digest" in names:
            action = Action.KEY_ROTATE
        case _:
            action = Action.KEY_EDIT
    return Deed(action, "key", after.id, changed)


def key_deleted(key_id: str, before: KeyRecord | None) -> Deed:
    """A key that goes; its record is None where nobody can read it."""
    shown = {} if before is None else _of_key(before)
    return Deed(Action.KEY_DELETE, "key", key_id, _differences(shown, {}))


def user_added(user: User) -> Deed:
    """A new user."""
    return Deed(Action.USER_ADD, "user", user.id, _differences({}, _of_user(user)))


def user_put(before: User | None, after: User) -> Deed | None:
    """A user who is stored, whoever was there; None if it is the same."""
    changed = _differences({} if before is None else _of_user(before), _of_user(after))
    return Deed(Action.USER_PUT, "user", after.id, changed) if changed else None


def user_changed(before: User, after: User) -> Deed | None:
    """A user with other facts; None if they are the same."""
    changed = _differences(_of_user(before), _of_user(after))
    if not changed:
        return None
    action = Action.USER_EDIT
    if list(changed) == ["roles"]:
        if before.roles < after.roles:
            action = Action.USER_ROLE_ADD
        elif after.roles < before.roles:
            action = Action.USER_ROLE_REMOVE
    elif list(changed) == ["active"]:
        action = Action.USER_ACTIVATE if after.active else Action.USER_DEACTIVATE
    return Deed(action, "user", after.id, changed)


def user_deleted(user_id: str, before: User | None) -> Deed:
    """A user who goes; None where nobody can read the record."""
    shown = {} if before is None else _of_user(before)
    return Deed(Action.USER_DELETE, "user", user_id, _differences(shown, {}))


def policies_applied(changes: Iterable[Change]) -> Deed | None:
    """Other policies; None if nothing is different."""
    changed = {
        change.subject: {"before": _names(change.before), "after": _names(change.after)} for change in changes
    }
    return Deed(Action.POLICIES_APPLY, "policies", "", changed) if changed else None


def flag_set(name: str, *, before: bool, after: bool) -> Deed | None:
    """A feature flag that is turned; None if it stands like that already."""
    if before == after:
        return None
    return Deed(Action.FLAG_SET, "flag", name, {"on": {"before": before, "after": after}})


def _names(names: tuple[str, ...] | None) -> list[str] | None:
    return None if names is None else list(names)


def _of_key(record: KeyRecord) -> JsonObject:
    return {
        "type": record.type.value,
        "description": record.description,
        "created_at": _moment(record.created_at),
        "enabled": record.enabled,
        "expires_at": None if record.expires_at is None else _moment(record.expires_at),
        "user": record.user,
        "rules": [{"method": rule.method, "url": rule.url} for rule in record.rules],
    }


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _of_user(user: User) -> JsonObject:
    return {
        "name": user.name,
        "email": user.email,
        "organization": user.organization,
        "active": user.active,
        "groups": sorted(user.groups),
        "roles": sorted(user.roles),
    }


def _differences(before: JsonObject, after: JsonObject) -> dict[str, JsonObject]:
    return {
        name: {"before": before.get(name), "after": after.get(name)}
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name) or before.keys() != after.keys()
    }


def _canonical(said: JsonObject) -> bytes:
    return json.dumps(
        said, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
    ).encode()


def _digest(said: JsonObject) -> str:
    return sha256(_canonical(said)).hexdigest()
