"""What a user's privileges leave of a key's rules, before the key is made (rule D10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scopegate.core.errors import InvalidInput
from scopegate.core.languages import Budget, Undecided
from scopegate.core.principal import NO_PRIVILEGES
from scopegate.core.reach import Reach, admitted_methods, why_nothing
from scopegate.core.wildcard import pattern_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scopegate.core.catalogue import Catalogue
    from scopegate.core.keys import Rule
    from scopegate.core.principal import Principal

# States of automata that are looked at: for one rule, and for all rules of a key, which is some seconds.
_STATES_OF_RULE = 20_000
_STATES_OF_KEY = 400_000


@dataclass(frozen=True, slots=True)
class Gap:
    """A rule that opens less than it says.

    ``row`` counts from 1. ``useless``: there is no request that the rule admits and the user may send.
    ``missing``: the privileges that the user lacks for what the catalogue lists and is out of reach; none
    where it lists nothing that the rule covers. ``undecided``: nobody can tell, so it counts as useless.
    """

    row: int
    rule: Rule
    useless: bool
    missing: tuple[str, ...]
    undecided: bool = False

    @property
    def sentence(self) -> str:
        """The gap in words."""
        rule = f"Row {self.row} ({self.rule.method} {self.rule.url})"
        if self.undecided:
            return f"{rule} has too many wildcards to tell what the user can do with it."
        why = why_nothing(self.rule)
        if why is not None:
            return f"{rule} {why}"
        if not self.missing:
            return f"{rule} covers no endpoint of the catalogue, so it opens nothing for this user."
        lacking = ", ".join(self.missing)
        if self.useless:
            return f"{rule} opens nothing for this user, who lacks: {lacking}."
        return f"{rule} opens only a part for this user, who lacks: {lacking}."


def gaps(rules: Iterable[Rule], principal: Principal, catalogue: Catalogue) -> tuple[Gap, ...]:
    """The rules that `principal` could not use in full, in their order."""
    return gaps_in(rules, Reach(principal.privileges, catalogue))


def gaps_in(rules: Iterable[Rule], reach: Reach) -> tuple[Gap, ...]:
    """The same, of a user of whom it is known already what is open."""
    budget = Budget(_STATES_OF_KEY)
    found = (_gap(row, rule, reach, budget) for row, rule in enumerate(rules, start=1))
    return tuple(gap for gap in found if gap is not None)


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
        hint=_mending(found, missing, user_id),
        code="privileges_missing",
    )


def _mending(found: list[Gap], missing: list[str], user_id: str) -> str:
    if missing:
        return f"Give {user_id} the missing privileges ({', '.join(missing)}), or remove the rows."
    if any(gap.undecided for gap in found):
        return "Use fewer * in the rows."
    return "Add the endpoints to the catalogue, or remove the rows."


def _gap(row: int, rule: Rule, reach: Reach, budget: Budget) -> Gap | None:
    methods, pattern = admitted_methods(rule.method), pattern_of(rule.url)
    own = Budget(_STATES_OF_RULE, of=budget)
    try:
        useless = reach.usable(methods, pattern, budget=own) is None
        lacking = [one.missing for one in reach.lacking(methods, pattern, budget=own)]
    except Undecided:
        return Gap(row, rule, useless=True, missing=(), undecided=True)
    if not useless and not lacking:
        return None
    return Gap(row, rule, useless=useless, missing=tuple(sorted(NO_PRIVILEGES.union(*lacking))))
