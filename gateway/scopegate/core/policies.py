"""A tenant's policies as one value, and the expectations that they are held to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from scopegate.core.catalogue import Catalogue, Endpoint
from scopegate.core.decision import Decision, Scope, decide
from scopegate.core.errors import InvalidInput
from scopegate.core.keys import KeyRecord, KeyType
from scopegate.core.principal import Principal, Privileges, User, resolve
from scopegate.core.reasons import Reason
from scopegate.core.request import METHODS, CanonicalRequest
from scopegate.core.wildcard import UrlPattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LONGEST_POLICY_NAME = 100  # characters
_NAME = re.compile(rf"[A-Za-z0-9._:-]{{1,{LONGEST_POLICY_NAME}}}")
_SHOWN = 40  # characters of a bad name, so that an error stays one readable line
_EXPECTATION = "Write '<principal> <METHOD> <URL> -> allow', '... -> deny' or '... -> deny <reason>'."
# Why a user can be refused something; all other reasons are about keys and about how requests are written.
DENIALS = (Reason.PRIVILEGE_MISSING, Reason.ENDPOINT_UNLISTED, Reason.USER_INACTIVE)
UNLISTED = {"deny": False, "allow": True}  # what becomes of endpoints that no catalogue entry lists


def require_name(field: str, name: str) -> str:
    """`name` itself, if a role, a group, a privilege or a principal may be called so.

    Raises:
        InvalidInput: on `field`.
    """
    if not _NAME.fullmatch(name):
        shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
        raise InvalidInput(
            field,
            f"{shown!r} is not a name.",
            hint=f"A name has 1 to {LONGEST_POLICY_NAME} ASCII letters, digits and . _ : -",
            code="name_invalid",
        )
    return name


def unlisted_word(*, allowed: bool | None) -> str:
    """How it is said whether unlisted endpoints are open; they are not where nothing is said."""
    return "allow" if allowed else "deny"


def endpoint_label(endpoint: Endpoint) -> str:
    """How an entry is called: its methods and URL, which no other entry shares."""
    return f"{','.join(sorted(endpoint.methods))} {endpoint.url}"


@dataclass(frozen=True, slots=True)
class Policies:
    """The endpoint catalogue, the roles and the groups of a tenant.

    Two values are equal if they mean the same: the order in which things were written is not kept.

    Args:
        endpoints: the catalogue's entries; no two have the same methods and URL.
        unlisted_allowed: whether a user-bound key may call an endpoint that no entry lists; None where
            that is not said, so that what is settled for the tenant stays.
        roles: role name -> its privileges.
        groups: group name -> the roles that its members hold, each of them defined.

    Raises:
        InvalidInput: a name is not a name, an entry stands twice, or a role is undefined.
    """

    endpoints: tuple[Endpoint, ...] = ()
    unlisted_allowed: bool | None = False
    roles: Mapping[str, Privileges] = field(default_factory=dict)
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_endpoints(self.endpoints)
        _require_roles(self.roles)
        _require_groups(self.groups, self.roles)
        by_url = sorted(self.endpoints, key=lambda endpoint: (endpoint.url, sorted(endpoint.methods)))
        object.__setattr__(self, "endpoints", tuple(by_url))
        object.__setattr__(self, "roles", MappingProxyType(dict(sorted(self.roles.items()))))
        object.__setattr__(self, "groups", MappingProxyType(dict(sorted(self.groups.items()))))

    def catalogue(self) -> Catalogue:
        """The entries, compiled. Where nothing is said of endpoints that none lists, they are denied.

        Raises:
            InvalidInput: they cannot be matched in bounded memory.
        """
        try:
            return Catalogue(self.endpoints, unlisted_allowed=bool(self.unlisted_allowed))
        except InvalidInput as error:
            raise InvalidInput("endpoints", error.message, hint=error.hint, code=error.code) from None

    def principal(self, user: User) -> Principal:
        """`user` with the privileges that these roles and groups give."""
        return resolve(user, roles=self.roles, groups=self.groups)


def _require_endpoints(endpoints: tuple[Endpoint, ...]) -> None:
    seen: set[str] = set()
    for endpoint in endpoints:
        label = endpoint_label(endpoint)
        if label in seen:
            raise InvalidInput(
                "endpoints",
                f"{label} is listed twice.",
                hint="Put all its privileges into one entry.",
                code="endpoint_duplicate",
            )
        seen.add(label)
        for privilege in sorted(endpoint.privileges):
            require_name("endpoints", privilege)


def _require_roles(roles: Mapping[str, Privileges]) -> None:
    for role, privileges in roles.items():
        require_name("roles", role)
        for privilege in sorted(privileges):
            require_name("roles", privilege)


def _require_groups(groups: Mapping[str, frozenset[str]], roles: Mapping[str, Privileges]) -> None:
    for group, held in groups.items():
        require_name("groups", group)
        undefined = sorted(held - roles.keys())
        if undefined:
            raise InvalidInput(
                "groups",
                f"The group {group!r} names undefined roles: {', '.join(undefined)}.",
                hint="Define them under roles, or take them out of the group.",
                code="role_undefined",
            )


@dataclass(frozen=True, slots=True)
class Expectation:
    """What has to be so: whether `principal` may call `method` at `url`, and why not if `reason` is said.

    ``url`` is one URL that a client could send, in its canonical spelling: a path, or a full URL
    where the catalogue has entries for a host. One that every gateway refuses is no expectation,
    for a "deny" about a mistyped URL would hold for ever. ``source`` says where it is written.

    Raises:
        InvalidInput: it speaks of no request that a client could make.
    """

    principal: str
    method: str
    url: str
    allowed: bool
    reason: Reason | None = None
    source: str | None = field(default=None, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        require_name("principal", self.principal)
        if self.method not in METHODS:
            raise InvalidInput(
                "method",
                f"{self.method!r} is no HTTP method.",
                hint=f"Choose from {', '.join(sorted(METHODS))}.",
            )
        if "*" in self.url:
            raise InvalidInput(
                "url",
                f"The URL {self.url!r} has a wildcard.",
                hint="An expectation is about one request: write a URL that a client would call.",
            )
        if self.reason is not None and (self.allowed or self.reason not in DENIALS):
            raise _no_denial(self.reason)
        object.__setattr__(self, "url", UrlPattern.parse(self.url).text)

    @classmethod
    def parse(cls, text: str, *, source: str | None = None) -> Expectation:
        """Read ``maria GET /api/recordings/1 -> allow``, ``... -> deny`` or ``... -> deny user_inactive``.

        Raises:
            InvalidInput: the line has another form, or one of its parts is invalid.
        """
        match text.split():
            case [principal, method, url, "->", ("allow" | "deny") as outcome]:
                return cls(principal, method, url, outcome == "allow", source=source)
            case [principal, method, url, "->", "deny", reason]:
                return cls(principal, method, url, False, _reason(reason), source=source)  # noqa: FBT003
        raise InvalidInput("expectation", "This is no expectation.", hint=_EXPECTATION)

    def __str__(self) -> str:
        why = f" {self.reason}" if self.reason else ""
        return f"{self.principal} {self.method} {self.url} -> {_outcome(allowed=self.allowed)}{why}"

    def request(self) -> CanonicalRequest:
        """The request that it is about."""
        pattern = UrlPattern.parse(self.url)
        return CanonicalRequest(self.method, pattern.path, pattern.host)


@dataclass(frozen=True, slots=True)
class Verdict:
    """An expectation and what the policies make of it."""

    expectation: Expectation
    decision: Decision

    @property
    def holds(self) -> bool:
        """Whether the decision is the expected one."""
        expected = self.expectation
        return self.decision.allowed is expected.allowed and expected.reason in {None, self.decision.reason}

    def describe(self) -> str:
        """One line for people, led by the place where the expectation is written."""
        place = f"{self.expectation.source}: " if self.expectation.source else ""
        if self.holds:
            return f"{place}{self.expectation}: holds ({self._why()})"
        return (
            f"{place}{self.expectation}: fails,"
            f" the answer is {_outcome(allowed=self.decision.allowed)} ({self._why()})"
        )

    def _why(self) -> str:
        missing = ", ".join(self.decision.missing)
        return f"{self.decision.reason}: {missing}" if missing else str(self.decision.reason)


def judge(
    policies: Policies, users: Mapping[str, User], expectations: Iterable[Expectation]
) -> tuple[Verdict, ...]:
    """What `policies` make of each expectation, in the same order.

    An expectation is about the user alone, so it is decided for an active external key that is
    bound to the user: nothing but the user's privileges can refuse it.
    """
    catalogue = policies.catalogue()
    return tuple(
        Verdict(expectation, _decide(expectation, policies, catalogue, users.get(expectation.principal)))
        for expectation in expectations
    )


def _decide(
    expectation: Expectation, policies: Policies, catalogue: Catalogue, user: User | None
) -> Decision:
    key = KeyRecord(
        id="expectation",
        tenant="expectation",
        type=KeyType.EXTERNAL,
        digest="expectation",
        description="Stands for every key that is bound to the user.",
        created_at=_ANY_MOMENT,
        user=expectation.principal,
    )
    return decide(
        expectation.request(),
        digest=key.digest,
        scope=Scope(key),
        principal=None if user is None else policies.principal(user),
        catalogue=catalogue,
        now=_ANY_MOMENT,
    )


def _reason(text: str) -> Reason:
    try:
        return Reason(text)
    except ValueError:
        raise _no_denial(text) from None


def _no_denial(reason: str) -> InvalidInput:
    return InvalidInput(
        "reason",
        f"{str(reason)!r} is no reason why a user is denied something.",
        hint=f"Choose from {', '.join(DENIALS)}, or leave it out.",
    )


def _outcome(*, allowed: bool) -> str:
    return "allow" if allowed else "deny"


# The key has no expiry, so that its state is the same at all times.
_ANY_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
