"""Many people, arranged so that a search finds a page of them without looking at each (D8).

`UserSearch.admits` says who is found; an index only finds them sooner.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import suppress
from heapq import merge
from itertools import repeat
from typing import TYPE_CHECKING, Final

from scopegate.core.postings import (
    AT_A_TIME,
    Bits,
    Postings,
    Terms,
    bits_of,
    first_of,
    in_order,
    numbered,
    slowly,
)
from scopegate.core.usersearch import Condition, Operator, Place, UserField, folded, subtree, words_in

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from scopegate.core.usersearch import Listed, UserSearch

Column = list[str | None]
_FEW = 2_000  # people who are rather looked at one by one
_REMEMBERED = 128  # sets of rows, of at most 15 kB each with 120,000 people
_TEXTS: Final = (
    UserField.ID,
    UserField.NAME,
    UserField.EMAIL,
    UserField.USER_NAME,
    UserField.EXTERNAL_ID,
)
_TERMS: Final = (UserField.ORGANIZATION, UserField.GROUP, UserField.ROLE)


class IndexBuilder:
    """Takes people in any order, no two with the same id."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._columns: dict[UserField, Column] = {field: [] for field in _TEXTS}
        self._active: list[int] = []
        self._words = Terms()
        self._terms = {field: Terms() for field in _TERMS}

    def add(self, people: Sequence[Listed]) -> None:
        """Let `people` be among those who are found."""
        columns, terms = self._columns, self._terms
        self._active += [row for row, person in enumerate(people, start=len(self._ids)) if person.active]
        self._ids += [person.id for person in people]
        ids = [folded(person.id) for person in people]
        names = [folded(person.name) for person in people]
        emails = [folded(person.email) for person in people]
        columns[UserField.ID] += ids
        columns[UserField.NAME] += names
        columns[UserField.EMAIL] += emails
        columns[UserField.USER_NAME] += [_folded_if_any(person.user_name) for person in people]
        columns[UserField.EXTERNAL_ID] += [_folded_if_any(person.external_id) for person in people]
        texts = map(" ".join, zip(names, emails, ids, strict=True))
        self._words.add([words_in(text) for text in texts])
        terms[UserField.ORGANIZATION].add([(person.organization,) for person in people])
        terms[UserField.GROUP].add([person.groups for person in people])
        terms[UserField.ROLE].add([person.roles for person in people])

    def build(self) -> Generator[None, None, UserIndex]:
        """The index of all who were added. Others get their turn at each step, every few milliseconds."""
        names, size = self._columns[UserField.NAME], len(self._ids)
        pairs = zip(names, self._ids, strict=True)
        keys = yield from slowly(f"{name}\0{user_id}" for name, user_id in pairs)
        rows = yield from numbered(keys)
        keys = yield from in_order(keys)
        order = yield from slowly(map(rows.__getitem__, keys))
        del rows, keys
        ranks = yield from slowly(repeat(0, size))
        for start in range(0, size, AT_A_TIME):
            for rank, row in enumerate(order[start : start + AT_A_TIME], start=start):
                ranks[row] = rank
            yield
        columns: dict[UserField, Column] = {}
        for field, column in self._columns.items():
            columns[field] = yield from slowly(map(column.__getitem__, order))
        terms: dict[UserField, Postings] = {}
        for field, gathered in self._terms.items():
            terms[field] = yield from gathered.ordered(ranks)
        words = yield from self._words.ordered(ranks)
        active = bits_of([ranks[row] for row in self._active], size)
        yield
        ids = yield from slowly(map(self._ids.__getitem__, order))
        return UserIndex(ids, (yield from numbered(ids)), columns, terms, words, active)


class UserIndex:
    """People in the order of their places. It never changes; what it has found it remembers."""

    def __init__(
        self,
        ids: list[str],
        rows: dict[str, int],
        columns: dict[UserField, Column],
        terms: dict[UserField, Postings],
        words: Postings,
        active: Bits,
    ) -> None:
        self._ids = ids
        self._columns = columns
        self._terms = terms
        self._words = words
        self._active = active
        self._all = (1 << len(ids)) - 1
        self._rows = rows
        self._remembered: dict[object, Bits] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def rows_of(self, ids: Iterable[str]) -> frozenset[int]:
        """The rows of those of `ids` who are here."""
        return frozenset(self._rows[one] for one in ids if one in self._rows)

    def find(
        self, search: UserSearch, *, after: Place | None, most: int, but: Bits = 0
    ) -> Generator[None, None, list[Place]]:
        """The first of those whom `search` admits, behind the place `after`, without the rows `but`.

        Others get their turn at each step.
        """
        bits = self._all & ~but
        if search.active is not None:
            bits &= self._active if search.active else ~self._active
        if search.organization is not None:
            bits &= self._below(search.organization)
        if search.group is not None:
            group = search.group
            bits &= self._known(("group", group), lambda: self.having(UserField.GROUP, group))
        for word in sorted(search.words, key=len, reverse=True):
            bits &= self._known(("word", word), lambda word=word: self._words.beginning(word))  # type: ignore[misc]
            yield
        start = 0 if after is None else bisect_right(range(len(self)), after, key=self._place)
        bits = bits >> start << start
        for condition in search.conditions:
            bits = yield from self._meeting(condition, bits)
        return [self._place(row) for row in first_of(bits, start, most)]

    def having(self, field: UserField, value: str) -> Sequence[int]:
        """The rows that have this organization, group or role."""
        return self._terms[field].of(value)

    def values(self, field: UserField) -> Sequence[str]:
        """The organizations, groups or roles that there are, in order."""
        return self._terms[field].values

    def _place(self, row: int) -> Place:
        return self._columns[UserField.NAME][row] or "", self._ids[row]

    def _below(self, organization: str) -> Bits:
        paths = self._terms[UserField.ORGANIZATION]
        return self._known(
            ("organization", organization),
            lambda: paths.of(organization) + paths.beginning(subtree(organization)),
        )

    def _meeting(self, condition: Condition, bits: Bits) -> Generator[None, None, Bits]:
        test = condition.test()
        if condition.field in self._terms:
            terms = self._terms[condition.field]
            found = self._known(condition, lambda: terms.meeting(lambda value: test(folded(value))))
            yield
            return bits & found
        column = self._columns[condition.field]
        if condition not in self._remembered and bits.bit_count() <= _FEW:
            few = first_of(bits, 0, _FEW)
            return bits_of([row for row in few if _passes(test, column[row])], len(self))
        if condition not in self._remembered:
            rows: list[int] = []
            for start in range(0, len(column), AT_A_TIME):
                if condition.operator is Operator.EQUALS:  # a provider asks for one person after the other
                    rows += _places_of(folded(condition.value), column, start, start + AT_A_TIME)
                else:
                    some = enumerate(column[start : start + AT_A_TIME], start=start)
                    rows += [row for row, value in some if value is not None and test(value)]
                yield
            self._remember(condition, bits_of(rows, len(self)))
        return bits & self._remembered[condition]

    def _known(self, key: object, rows: Callable[[], Sequence[int]]) -> Bits:
        if key not in self._remembered:
            self._remember(key, bits_of(rows(), len(self)))
        return self._remembered[key]

    def _remember(self, key: object, bits: Bits) -> None:
        if len(self._remembered) >= _REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[key] = bits


class People:
    """A large index that does not change, and a small one of those who were changed since."""

    def __init__(self, settled: UserIndex, recent: UserIndex, changed: frozenset[str]) -> None:
        self.settled = settled
        self.recent = recent
        self.changed = changed
        self._outdated = settled.rows_of(changed)
        self._but = bits_of(tuple(self._outdated), len(settled))

    def find(
        self, search: UserSearch, *, after: Place | None, most: int
    ) -> Generator[None, None, list[Place]]:
        """The first of those whom `search` admits, behind the place `after`."""
        settled = yield from self.settled.find(search, after=after, most=most, but=self._but)
        recent = yield from self.recent.find(search, after=after, most=most)
        return list(merge(settled, recent))[:most]

    def count(self, field: UserField, value: str) -> int:
        """How many have this organization, group or role."""
        settled = self.settled.having(field, value)
        outdated = sum(map(self._outdated.__contains__, settled)) if self._outdated else 0
        return len(settled) - outdated + len(self.recent.having(field, value))

    def values(self, field: UserField) -> list[str]:
        """The organizations, groups or roles that somebody has, in order."""
        of_both = merge(self.settled.values(field), self.recent.values(field))
        return [value for value in dict.fromkeys(of_both) if self.count(field, value)]


def _folded_if_any(text: str | None) -> str | None:
    return None if text is None else folded(text)


def _places_of(wanted: str, column: Column, start: int, end: int) -> Generator[int, None, None]:
    """The rows from `start` to before `end` that have just this value."""
    with suppress(ValueError):
        while True:
            start = column.index(wanted, start, end)
            yield start
            start += 1


def _passes(test: Callable[[str], bool], value: str | None) -> bool:
    return value is not None and test(value)
