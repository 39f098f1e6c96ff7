"""Finding people in the directory (D8): words, organization, group and conditions, which all have to hold."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from scopegate.core.errors import InvalidInput

if TYPE_CHECKING:
    from scopegate.core.principal import User

_WORD = re.compile(r"\w+")
_CONDITION = re.compile(r"(\w+):(\w+):(.*)", re.DOTALL)


class UserField(StrEnum):
    """What a condition can be about."""

    ID = "id"
    NAME = "name"
    EMAIL = "email"
    ORGANIZATION = "organization"
    GROUP = "group"
    ROLE = "role"


class Operator(StrEnum):
    """How a value has to be, letter case and accents aside."""

    EQUALS = "equals"
    CONTAINS = "contains"
    STARTS = "starts"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition; of groups and roles, one has to meet it."""

    field: UserField
    operator: Operator
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """The condition that ``field:operator:value`` spells.

        Raises:
            InvalidInput: it spells none.
        """
        match = _CONDITION.fullmatch(text)
        try:
            if match is not None:
                return cls(UserField(match[1]), Operator(match[2]), match[3])
        except ValueError:
            pass
        raise InvalidInput(
            "filter",
            f"{text!r} is no condition.",
            hint=f"Write field:operator:value, with one of the fields {', '.join(UserField)} "
            f"and one of the operators {', '.join(Operator)}.",
            code="condition_invalid",
        )

    def admits(self, user: User) -> bool:
        """Whether `user` meets it."""
        wanted = folded(self.value)
        return any(self._holds(folded(value), wanted) for value in self._values(user))

    def _values(self, user: User) -> tuple[str, ...]:
        match self.field:
            case UserField.GROUP:
                return tuple(user.groups)
            case UserField.ROLE:
                return tuple(user.roles)
            case _:
                return (getattr(user, self.field.value),)

    def _holds(self, value: str, wanted: str) -> bool:
        match self.operator:
            case Operator.EQUALS:
                return value == wanted
            case Operator.CONTAINS:
                return wanted in value
            case Operator.STARTS:
                return value.startswith(wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSearch:
    """Who is looked for.

    Each of ``words`` begins a word of the name, the e-mail or the id. ``organization`` is a path, and
    those below it are meant as well.
    """

    words: tuple[str, ...] = ()
    organization: str | None = None
    group: str | None = None
    conditions: tuple[Condition, ...] = field(default=())
    active: bool | None = None

    def admits(self, user: User) -> bool:
        """Whether `user` is among them."""
        return (
            (self.active is None or user.active == self.active)
            and (self.organization is None or _lies_in(user.organization, self.organization))
            and (self.group is None or self.group in user.groups)
            and all(condition.admits(user) for condition in self.conditions)
            and self._has_words(user)
        )

    def _has_words(self, user: User) -> bool:
        if not self.words:
            return True
        of_user = words(f"{user.name} {user.email} {user.id}")
        return all(any(one.startswith(word) for one in of_user) for word in self.words)


def words(text: str) -> tuple[str, ...]:
    """The words of `text`, letter case and accents aside."""
    return tuple(_WORD.findall(folded(text)))


def folded(text: str) -> str:
    """`text` without accents and letter case: "Müller" and "MULLER" are the same."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(one for one in decomposed if not unicodedata.combining(one)).casefold()


def _lies_in(organization: str, whole: str) -> bool:
    return organization == whole or organization.startswith(f"{whole.rstrip('/')}/")
