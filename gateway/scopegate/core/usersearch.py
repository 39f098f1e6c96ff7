"""Finding people in the directory (D8): words, organization, group and conditions, which all have to hold."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import filterfalse
from typing import TYPE_CHECKING, Protocol

from scopegate.core.directory import SEPARATOR
from scopegate.core.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_WORD = re.compile(r"\w+")
_CONDITION = re.compile(r"(\w+):(\w+):(.*)", re.DOTALL)
# Letters that people take for others, though Unicode does not decompose them.
_TAKEN_FOR = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ħ": "h", "ŧ": "t", "ŋ": "n"}
    | {"\N{LATIN SMALL LETTER DOTLESS I}": "i", "ĸ": "k", "ə": "e"}
)


class Listed(Protocol):
    """What is looked at of a person."""

    @property
    def id(self) -> str:
        """Who it is."""

    @property
    def name(self) -> str:
        """What the person is called."""

    @property
    def email(self) -> str:
        """An address, or nothing."""

    @property
    def organization(self) -> str:
        """A path, such as ``Sales/Vienna``, or nothing."""

    @property
    def active(self) -> bool:
        """Whether the person has any rights."""

    @property
    def groups(self) -> Collection[str]:
        """Ids of groups."""

    @property
    def roles(self) -> Collection[str]:
        """Names of roles that are held directly."""

    @property
    def user_name(self) -> str | None:
        """What the person signs in with elsewhere, if that is not the id."""

    @property
    def external_id(self) -> str | None:
        """What the provisioning system calls the person."""


class UserField(StrEnum):
    """What a condition can be about."""

    ID = "id"
    NAME = "name"
    EMAIL = "email"
    ORGANIZATION = "organization"
    GROUP = "group"
    ROLE = "role"
    USER_NAME = "user_name"
    EXTERNAL_ID = "external_id"


class Operator(StrEnum):
    """How a value has to be, letter case and accents aside."""

    EQUALS = "equals"
    CONTAINS = "contains"
    STARTS = "starts"
    ENDS = "ends"


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

    def admits(self, user: Listed) -> bool:
        """Whether `user` meets it."""
        return any(map(self.test(), map(folded, self._values(user))))

    def test(self) -> Callable[[str], bool]:
        """Whether one value meets it that is folded already."""
        wanted = folded(self.value)
        match self.operator:
            case Operator.EQUALS:
                return wanted.__eq__
            case Operator.CONTAINS:
                return lambda value: wanted in value
            case Operator.STARTS:
                return lambda value: value.startswith(wanted)
            case Operator.ENDS:
                return lambda value: value.endswith(wanted)

    def _values(self, user: Listed) -> Collection[str]:
        match self.field:
            case UserField.GROUP:
                return user.groups
            case UserField.ROLE:
                return user.roles
            case _:
                value: str | None = getattr(user, self.field.value)
                return () if value is None else (value,)


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

    def admits(self, user: Listed) -> bool:
        """Whether `user` is among them."""
        return (
            (self.active is None or user.active == self.active)
            and (self.organization is None or _lies_in(user.organization, self.organization))
            and (self.group is None or self.group in user.groups)
            and all(condition.admits(user) for condition in self.conditions)
            and self._has_words(user)
        )

    def _has_words(self, user: Listed) -> bool:
        if not self.words:
            return True
        of_user = words_of(user)
        return all(any(one.startswith(word) for one in of_user) for word in self.words)


Place = tuple[str, str]
"""Where somebody stands in a list: the folded name, and the id."""


def place_of(user: Listed) -> Place:
    """Where `user` stands among those who are found."""
    return folded(user.name), user.id


def words_of(user: Listed) -> tuple[str, ...]:
    """The words by which `user` is found: of the name, the e-mail and the id."""
    return words(f"{user.name} {user.email} {user.id}")


def words(text: str) -> tuple[str, ...]:
    """The words of `text`, letter case and accents aside."""
    return tuple(words_in(folded(text)))


def words_in(text: str) -> list[str]:
    """The words of a text that is folded already."""
    return _WORD.findall(text)


def folded(text: str) -> str:
    """`text` without accents and letter case: "Müller" and "MULLER" are the same, "Łódź" and "lodz" too."""
    return text.lower() if text.isascii() else text.translate(_FOLDS)


class _Folds(dict[int, str]):
    """What each character is without accent and letter case; that of a text is that of its characters."""

    def __missing__(self, code: int) -> str:
        decomposed = unicodedata.normalize("NFKD", chr(code).casefold())
        plain = "".join(filterfalse(unicodedata.combining, decomposed)).casefold().translate(_TAKEN_FOR)
        if code < _REMEMBERED:
            self[code] = plain
        return plain


_REMEMBERED = 0x3000  # the alphabets; the rest is too much to keep
_FOLDS = _Folds()


def subtree(organization: str) -> str:
    """What the paths of all organizations below `organization` begin with."""
    return f"{organization.rstrip(SEPARATOR)}{SEPARATOR}"


def _lies_in(organization: str, whole: str) -> bool:
    return organization == whole or organization.startswith(subtree(whole))
