"""The audit log: what an entry says, and the chain of hashes that shows what became of the entries.

An entry is one line of canonical JSON: members in the order of their names, no white space, UTF-8. Its
member ``previous`` is the hash of the entry before it, and ``hash`` is the SHA-256 of the line without
``hash``. So each hash stands for all that was written before it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from scopegate.core.deeds import JsonObject, moment_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scopegate.core.deeds import Deed

DEFAULT_RETENTION = 100_000  # entries
LONGEST_REASON = 500  # characters
_HASH = "hash"
_TEXTS = (_HASH, "previous", "at", "actor", "origin", "action")


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes something, from where, and why if that was said."""

    actor: str
    origin: str
    reason: str | None = None


# Whoever nobody named, and the sweep that enters what time does to keys.
SYSTEM = Author("system", "scopegate")


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
            "at": moment_text(self.at),
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
    """Which entries are asked for; what is None selects all.

    ``key_id`` may be the beginning of an id. Entries from the number ``before`` on are not asked for.
    """

    key_id: str | None = None
    actor: str | None = None
    since: datetime | None = None
    before: int | None = None

    def admits(self, said: JsonObject) -> bool:
        """Whether a parsed entry is among them.

        Raises:
            ValueError: nobody can tell when it was written.
        """
        target = said["target"]
        if self.before is not None and said["sequence"] >= self.before:
            return False
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


def _canonical(said: JsonObject) -> bytes:
    return json.dumps(
        said, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
    ).encode()


def _digest(said: JsonObject) -> str:
    return sha256(_canonical(said)).hexdigest()
