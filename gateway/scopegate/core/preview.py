"""What a user's privileges leave of a key's rules, before the key is made (rule D10)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from scopegate.core.catalogue import ANY_METHOD
from scopegate.core.errors import InvalidInput
from scopegate.core.request import CanonicalRequest
from scopegate.core.wildcard import UrlPattern, common_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scopegate.core.catalogue import Catalogue, Endpoint
    from scopegate.core.keys import Rule
    from scopegate.core.principal import Principal

pattern_of = lru_cache(maxsize=4_096)(UrlPattern.parse)  # each rule is held against each endpoint


@dataclass(frozen=True, slots=True)
class Gap:
    """A rule that opens less than it says.

    ``row`` counts from 1. ``useless``: the user may call none of the endpoints that the rule
    covers. ``missing``: the privileges that the user lacks for those out of reach; none where the
    catalogue lists no endpoint that the rule covers.
    """

    row: int
    rule: Rule
    useless: bool
    missing: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The gap in words."""
        rule = f"Row {self.row} ({self.rule.method} {self.rule.url})"
        if not self.missing:
            return f"{rule} covers no endpoint of the catalogue, so it opens nothing for this user."
        lacking = ", ".join(self.missing)
        if self.useless:
            return f"{rule} opens nothing for this user, who lacks: {lacking}."
        return f"{rule} opens only a part for this user, who lacks: {lacking}."


def gaps(rules: Iterable[Rule], principal: Principal, catalogue: Catalogue) -> tuple[Gap, ...]:
    """The rules that `principal` could not use in full, in their order."""
    return tuple(
        gap
        for row, rule in enumerate(rules, start=1)
        if (gap := _gap(row, rule, principal, catalogue)) is not None
    )


def require_user(user_id: str, principal: Principal | None) -> Principal:
    """`principal` itself, if a key can be bound to the user of this id.

    Raises:
        InvalidInput: there is no such user, or the user is not active.
    """
    if principal is None:
        raise InvalidInput(
            "user",
            f"There is no user {user_id!r}.",
            hint="List the users with: scopegate user list",
            code="user_not_found",
        )
    if not principal.active:
        raise InvalidInput(
            "user",
            f"The user {user_id!r} is not active, so the key would open nothing.",
            hint=f"Activate the user first: scopegate user activate {user_id}",
            code="user_inactive",
        )
    return principal


def useless(found: list[Gap], user_id: str) -> InvalidInput:
    """The error for rules that open nothing for the user."""
    missing = sorted({privilege for gap in found for privilege in gap.missing})
    return InvalidInput(
        "rules",
        " ".join(gap.sentence for gap in found),
        hint=f"Give {user_id} the missing privileges ({', '.join(missing)}), or remove the rows."
        if missing
        else "Add the endpoints to the catalogue, or remove the rows.",
        code="privileges_missing",
    )


def samples(rule: Rule, endpoint: Endpoint) -> Iterator[CanonicalRequest]:
    """Requests for what the rule covers of an endpoint; none where it covers nothing of it."""
    if not _names_method(endpoint, rule.method):
        return
    pattern, listed = pattern_of(rule.url), pattern_of(endpoint.url)
    path = common_path(pattern.path, listed.path)
    if path is not None:
        for host in _common_hosts(pattern.host, listed.host):
            yield CanonicalRequest(rule.method, path, host)


def _gap(row: int, rule: Rule, principal: Principal, catalogue: Catalogue) -> Gap | None:
    requirements = [
        required
        for endpoint in catalogue.endpoints
        for request in samples(rule, endpoint)
        if (required := catalogue.required(request)) is not None
    ]
    if not requirements:
        return None if catalogue.unlisted_allowed else Gap(row, rule, useless=True, missing=())
    lacking = [required - principal.privileges for required in requirements]
    if not any(lacking):
        return None
    missing = tuple(sorted(frozenset().union(*lacking)))
    return Gap(row, rule, useless=all(lacking) and not catalogue.unlisted_allowed, missing=missing)


def _names_method(endpoint: Endpoint, method: str) -> bool:
    return method in endpoint.methods or ANY_METHOD in endpoint.methods


def _common_hosts(one: str | None, other: str | None) -> tuple[str | None, ...]:
    """One host for which both are meant (None: any), or nothing."""
    if one is None or other is None:
        return (one or other,)
    host = common_path(one, other)
    return () if host is None else (host,)
