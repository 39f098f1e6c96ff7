"""API keys: their text, their record, and their state at a given moment.

A key's text is ``<prefix>_<id>_<secret><checksum>``. The id is public and finds the record, the
secret is shown once and never stored, the checksum tells a key from garbage and typing errors, and
lets secret scanners recognise one (the form that GitHub's tokens made known).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from dataclasses import dataclass, field
from datetime import MAXYEAR, UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from scopegate.core.errors import InvalidInput
from scopegate.core.lines import is_one_line
from scopegate.core.wildcard import UrlPattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TENANT_TAG_LENGTH = 3
ID_LENGTH = 12
SECRET_LENGTH = 32  # 62**32 > 2**190
CHECKSUM_LENGTH = 6  # 62**6 > 2**32
DIGEST_LENGTH = 64
_PAIRS = [first + last for first in BASE62 for last in BASE62]  # the two digits of each number below 62**2
DEFAULT_PREFIX = "sg"
RESERVED_PREFIXES = frozenset(
    {"adm"}
)  # what administrators' tokens begin with, so that neither passes for the other

DELETION_DELAY = timedelta(days=7)
KEYS_PER_TENANT = 300
DEFAULT_RULE_METHODS = frozenset({"GET", "POST"})
MAX_RULES = 1_000
MAX_DESCRIPTION = 500

# Marks a field of a record that was added later: while it is None, the record is stored without it, so
# that what was stored before stays readable, and a version that does not know it reads what it can judge.
WRITTEN_IF_ANY = {"written_if_any": True}

_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9]{0,15}")
_TEXT_LENGTH = 16 + 1 + ID_LENGTH + 1 + SECRET_LENGTH + CHECKSUM_LENGTH  # with the longest prefix


class KeyText(NamedTuple):
    """A well-formed key as its holder has it. ``repr`` shows the id only.

    ``text`` is the whole key, checksum included; its digest is what a record stores.
    """

    id: str
    text: str

    def __repr__(self) -> str:
        return f"KeyText(id={self.id!r})"

    @property
    def tenant_tag(self) -> str:
        """The part of the id that says which tenant's records hold the key."""
        return self.id[:TENANT_TAG_LENGTH]


def require_prefix(prefix: str) -> str:
    """`prefix` itself, if keys can begin with it.

    Raises:
        InvalidInput: it is not 1 to 16 letters and digits that start with a letter, or it is reserved.
    """
    if prefix in RESERVED_PREFIXES:
        raise InvalidInput(
            "key_prefix",
            f"{prefix!r} is what the tokens of administrators begin with.",
            hint="Choose another prefix, such as 'sg'.",
        )
    if not _PREFIX.fullmatch(prefix):
        raise InvalidInput(
            "key_prefix",
            f"{prefix!r} cannot be a key prefix.",
            hint="Use 1 to 16 ASCII letters and digits, starting with a letter, such as 'sg'.",
        )
    return prefix


def mint(tenant_tag: str, choose: Callable[[str], str], *, prefix: str = DEFAULT_PREFIX) -> KeyText:
    """A new key of the tenant that `tenant_tag` stands for.

    `choose` picks one character of the alphabet it is given; in production it is
    ``secrets.choice``.
    """
    key_id = tenant_tag + "".join(choose(BASE62) for _ in range(ID_LENGTH - TENANT_TAG_LENGTH))
    return with_new_secret(key_id, choose, prefix=prefix)


def with_new_secret(key_id: str, choose: Callable[[str], str], *, prefix: str = DEFAULT_PREFIX) -> KeyText:
    """The key with this id and a secret that nobody has yet; `choose` as in `mint`."""
    secret = "".join(choose(BASE62) for _ in range(SECRET_LENGTH))
    body = f"{prefix}_{key_id}_{secret}"
    return KeyText(id=key_id, text=body + _checksum(body))


def parse(text: str, *, prefix: str = DEFAULT_PREFIX) -> KeyText | None:
    """The key that `text` spells, or None if no key of ours is spelled like that.

    The grammar is exact: no white space, no other alphabet, the right checksum. Any single changed
    character gives None, for a CRC-32 tells every such change.
    """
    match = _grammar(prefix)(text)
    if match is None:
        return None
    body, key_id, checksum = match.groups()
    return _new(KeyText, (key_id, text)) if _checksum(body) == checksum else None


def digest(key: KeyText, *, pepper: bytes | None = None) -> str:
    """What is stored in place of the key: SHA-256 in hex, or HMAC-SHA-256 under `pepper`.

    A plain hash is enough without a pepper: the secret has 190 random bits, so nothing can be
    guessed faster than by trying all of them.
    """
    if pepper:
        return hmac.new(pepper, key.text.encode("ascii"), hashlib.sha256).hexdigest()
    return hashlib.sha256(key.text.encode("ascii")).hexdigest()


def stand_in(text: str, *, pepper: bytes | None = None) -> tuple[KeyText, str]:
    """A key that nobody has, with its digest, to look up and compare in place of `text`, which is none.

    So garbage takes the way of a key that is unknown, and the time. No id and no digest begins with a
    hyphen. Of a text that is longer than keys are, the rest is not looked at.
    """
    start = text[:_TEXT_LENGTH].encode("latin-1")
    made = hmac.new(pepper, start, hashlib.sha256) if pepper else hashlib.sha256(start)
    nobodys = "-" + made.hexdigest()[1:]
    return KeyText(id=nobodys[:ID_LENGTH], text=""), nobodys


@lru_cache(maxsize=8)
def _grammar(prefix: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(
        rf"({re.escape(prefix)}_([0-9A-Za-z]{{{ID_LENGTH}}})_[0-9A-Za-z]{{{SECRET_LENGTH}}})"
        rf"([0-9A-Za-z]{{{CHECKSUM_LENGTH}}})"
    ).fullmatch


def _checksum(body: str) -> str:
    crc = zlib.crc32(body.encode("ascii"))
    return f"{_PAIRS[crc // 62**4]}{_PAIRS[crc // 62**2 % 62**2]}{_PAIRS[crc % 62**2]}"


class KeyType(StrEnum):
    """Rule D3."""

    DESKTOP = "desktop"
    EXTERNAL = "external"
    CUSTOM = "custom"


class KeyState(StrEnum):
    """What a key is at a given moment; one vocabulary for console, CLI and API."""

    ACTIVE = "active"
    DISABLED = "disabled"
    EXPIRED = "expired"
    DELETED = "deleted"


_new = tuple.__new__  # half the price of a named tuple's own constructor
_ACTIVE = KeyState.ACTIVE  # Python 3.11 looks the members of an enumeration up anew each time


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of a custom key (rule D9): a method and a URL pattern that it opens.

    ``url`` is kept in its canonical spelling, so equal rules are equal values.
    """

    method: str
    url: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", UrlPattern.parse(self.url).text)


@dataclass(frozen=True, slots=True)
class RetiringSecret:
    """The secret that a key had before its latest rotation: ``digest`` proves it before ``until``, aware."""

    digest: str = field(repr=False)
    until: datetime

    def __post_init__(self) -> None:
        if self.until.tzinfo is None:
            raise InvalidInput(
                "overlap", "The end of the overlap has no time zone.", hint="Write it in UTC, with Z."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """What the store knows of a key. A record that exists has just the fields of its type.

    ``user`` is the id of the one user whose live privileges bound the key, or None for All
    (rule D7). ``expires_at`` is aware, in UTC, or None for never (rule D5). A custom key may lose
    all its rules later; it then opens nothing. ``retiring`` stays after its end, when it proves
    nothing any more; `retiring_at` tells whether it counts. ``deletion_delay`` is None for the
    seven days of D5; only rehearsals and tests have another one, which goes with the record so that
    all who judge it agree.
    """

    id: str
    tenant: str
    type: KeyType
    digest: str = field(repr=False)
    description: str
    created_at: datetime
    enabled: bool = True
    expires_at: datetime | None = None
    user: str | None = None
    rules: tuple[Rule, ...] = ()
    retiring: RetiringSecret | None = field(default=None, metadata=WRITTEN_IF_ANY)
    deletion_delay: timedelta | None = field(default=None, metadata=WRITTEN_IF_ANY)

    def __post_init__(self) -> None:
        if self.expires_at is not None and self.expires_at.tzinfo is None:
            raise InvalidInput(
                "expires_at",
                "The expiry has no time zone.",
                hint="Write it as 2027-03-31T23:59+02:00.",
            )
        if self.expires_at is not None and self.expires_at.year >= MAXYEAR:
            # datetime could not hold the deletion seven days after it.
            raise InvalidInput(
                "expires_at",
                f"The expiry is not before the year {MAXYEAR}.",
                hint="Leave it out for a key that never expires.",
            )
        if self.type is KeyType.DESKTOP:
            if self.expires_at is not None:
                raise InvalidInput(
                    "expires_at",
                    "A desktop key has no expiry.",
                    hint="Leave the expiry out, or create an external key.",
                    code="expiry_not_allowed_for_desktop",
                )
            if self.user is not None:
                raise InvalidInput(
                    "user",
                    "A desktop key is not bound to a user.",
                    hint="Leave the user out, or create an external key.",
                    code="user_not_allowed_for_desktop",
                )
        if self.rules and self.type is not KeyType.CUSTOM:
            raise InvalidInput(
                "rules",
                f"A key of type {self.type} has no URL rules.",
                hint="Leave the rules out, or create a custom key.",
                code="rules_only_for_custom",
            )

    @property
    def delete_at(self) -> datetime | None:
        """When the system deletes the key: seven days after its expiry (rule D5)."""
        if self.expires_at is None:
            return None
        return self.expires_at + (DELETION_DELAY if self.deletion_delay is None else self.deletion_delay)


def retiring_at(record: KeyRecord, now: datetime) -> RetiringSecret | None:
    """The secret that is valid beside the present one at `now`, if there is one."""
    retiring = record.retiring
    return None if retiring is None or now >= retiring.until else retiring


def state(record: KeyRecord, now: datetime) -> KeyState:
    """The state of the key at `now`. Expiry outranks a person's disabling; both refuse."""
    if record.expires_at is not None and now >= record.expires_at:
        deleted = record.delete_at is not None and now >= record.delete_at
        return KeyState.DELETED if deleted else KeyState.EXPIRED
    return _ACTIVE if record.enabled else KeyState.DISABLED


def require_creatable(
    record: KeyRecord, now: datetime, *, rule_methods: frozenset[str] = DEFAULT_RULE_METHODS
) -> None:
    """Refuse a new key that breaks D5, D6 or D9.

    Raises:
        InvalidInput: no description, an expiry in the past, no rule, too many rules, a rule twice,
            or a method that a rule may not name in this tenant.
    """
    require_description(record.description)
    require_future_expiry(record.expires_at, now)
    if record.type is KeyType.CUSTOM:
        require_rules(record.rules, rule_methods)


def require_future_expiry(expires_at: datetime | None, now: datetime) -> None:
    """Refuse an expiry that is not after `now`.

    Raises:
        InvalidInput: with code ``expiry_in_past``.
    """
    if expires_at is not None and expires_at <= now:
        raise InvalidInput(
            "expires_at",
            f"The expiry must be in the future. It is now {now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}.",
            hint="Choose a later date and time, or leave it out for a key that never expires.",
            code="expiry_in_past",
        )


def require_description(description: str) -> None:
    """Refuse a description that tells nothing, or that cannot stand on one line (D6).

    Raises:
        InvalidInput: that says which of it.
    """
    if not description.strip():
        raise InvalidInput(
            "description",
            "Give the key a description so that others can recognise it.",
            hint="For example: Created for Face-to-Face recording.",
            code="description_required",
        )
    if len(description) > MAX_DESCRIPTION:
        raise InvalidInput(
            "description",
            f"The description has {len(description)} characters; {MAX_DESCRIPTION} are allowed.",
            hint="Shorten it.",
        )
    if not is_one_line(description):
        raise InvalidInput(
            "description",
            "The description has line breaks, control characters or characters that reverse the text.",
            hint="Write it on one line.",
        )


def require_rules(
    rules: tuple[Rule, ...], rule_methods: frozenset[str] = DEFAULT_RULE_METHODS, *, kept: int = 0
) -> None:
    """Refuse rules that a custom key cannot get (D9). The first `kept` it has, whatever methods they name.

    Raises:
        InvalidInput: there is none, or too many, one is there twice, or names a method that a rule may
            not name in this tenant.
    """
    for problem in rule_problems(dict(enumerate(rules, start=1)), rule_methods, kept=kept):
        raise problem


def rule_problems(
    rules: Mapping[int, Rule], rule_methods: frozenset[str], *, kept: int = 0
) -> Iterator[InvalidInput]:
    """All that `require_rules` has against the rules in these rows, counted from 1."""
    if not rules:
        yield InvalidInput(
            "rules",
            "Add at least one URL. A custom key without URLs can't call anything.",
            hint="For example: --url '/api/recordings/*' --method GET.",
            code="rules_required",
        )
    if len(rules) > MAX_RULES:
        yield InvalidInput(
            "rules",
            f"The key has {len(rules)} rules; {MAX_RULES} are allowed.",
            hint="Use * to cover several URLs with one rule, or split the key in two.",
            code="rules_too_many",
        )
    seen: dict[Rule, int] = {}
    for row, rule in rules.items():
        if row > kept and rule.method not in rule_methods:
            yield InvalidInput(
                f"rules[{row}].method",
                f"Row {row}: a rule cannot name the method {rule.method!r}.",
                hint=f"Choose {' or '.join(sorted(rule_methods))}.",
                code="method_not_allowed_value",
            )
        if rule in seen:
            yield InvalidInput(
                f"rules[{row}]",
                f"Row {row} says the same as row {seen[rule]}: {rule.method} {rule.url}.",
                hint="Remove one of them.",
                code="rule_duplicate",
            )
        seen.setdefault(rule, row)
