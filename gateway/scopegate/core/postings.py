"""Which rows of a list have which terms, and sets of rows as the bits of one number."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from itertools import accumulate, chain, count, islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Sequence

T = TypeVar("T")

Bits = int
"""A set of rows: bit n is set for row n."""
AT_A_TIME = 10_000  # entries between two turns of others
_FEW = 64
_SAMPLED = 100  # of so many texts one says where they are cut


class Terms:
    """Gathers the terms of rows, which have no order yet."""

    def __init__(self) -> None:
        self._numbers: defaultdict[str, int] = defaultdict(count().__next__)
        self._terms = array("I")
        self._ends = array("I")

    def add(self, rows: Sequence[Collection[str]]) -> None:
        """Let the next rows have these terms; what a row has twice is found twice."""
        self._terms.extend(map(self._numbers.__getitem__, chain.from_iterable(rows)))
        before = self._ends[-1] if self._ends else 0
        self._ends.extend(islice(accumulate(map(len, rows), initial=before), 1, None))

    def ordered(self, ranks: Sequence[int]) -> Generator[None, None, Postings]:
        """The same, of rows that are numbered by their `ranks`; others get their turn at each step."""
        values = yield from in_order(self._numbers)
        numbers = yield from slowly(map(self._numbers.__getitem__, values))
        counts = [0] * len(values)
        for start in range(0, len(self._terms), AT_A_TIME):
            for term in self._terms[start : start + AT_A_TIME]:
                counts[term] += 1
            yield
        starts = yield from slowly(accumulate(map(counts.__getitem__, numbers), initial=0))
        free = counts  # from here on: where the next row of a term goes
        for start in range(0, len(numbers), AT_A_TIME):
            some = slice(start, start + AT_A_TIME)
            for number, place in zip(numbers[some], starts[some], strict=False):
                free[number] = place
            yield
        rows = array("I", bytes(4 * len(self._terms)))
        first = paused = 0
        for row, end in enumerate(self._ends):
            rank = ranks[row]
            for term in self._terms[first:end]:
                rows[free[term]] = rank
                free[term] += 1
            first = end
            if end - paused >= AT_A_TIME:
                paused = end
                yield
        return Postings(values, array("I", starts), rows)


class Postings:
    """The rows of each term. The terms are in order, and so are the rows of those that begin alike."""

    def __init__(self, values: list[str], starts: array[int], rows: array[int]) -> None:
        self.values = values
        self._starts = starts
        self._rows = rows

    def of(self, value: str) -> array[int]:
        """The rows that have this term."""
        at = bisect_left(self.values, value)
        found = at < len(self.values) and self.values[at] == value
        return self._between(at, at + found)

    def beginning(self, prefix: str) -> array[int]:
        """The rows that have a term with this beginning; one may be there more than once."""
        values = self.values
        first = bisect_left(values, prefix)
        return self._between(first, bisect_left(values, f"{prefix}\U0010ffff", first))

    def meeting(self, test: Callable[[str], bool]) -> array[int]:
        """The rows that have a term that passes; one may be there more than once."""
        found = array("I")
        for number, value in enumerate(self.values):
            if test(value):
                found += self._between(number, number + 1)
        return found

    def _between(self, first: int, last: int) -> array[int]:
        return self._rows[self._starts[first] : self._starts[last]]


def bits_of(rows: Sequence[int], size: int) -> Bits:
    """The set of `rows`, each below `size`."""
    if len(rows) <= _FEW:
        bits = 0
        for row in rows:
            bits |= 1 << row
        return bits
    flags = bytearray(b"0") * size
    for row in rows:
        flags[row] = 49  # "1"
    flags.reverse()
    return int(flags, 2)


def first_of(bits: Bits, start: int, most: int) -> list[int]:
    """The smallest of the rows that are not before `start`, at most so many."""
    digits = bin(bits >> start)[:1:-1]
    found: list[int] = []
    at = digits.find("1")
    while at >= 0 and len(found) < most:
        found.append(start + at)
        at = digits.find("1", at + 1)
    return found


def slowly(values: Iterable[T]) -> Generator[None, None, list[T]]:
    """All `values`, some at a time; others get their turn in between."""
    taken, rest = list[T](), iter(values)
    while piece := list(islice(rest, AT_A_TIME)):
        taken += piece
        yield
    return taken


def in_order(texts: Iterable[str]) -> Generator[None, None, list[str]]:
    """`texts` in order; others get their turn in between.

    Runs are sorted, then cut at the same places, and what lies between two places is sorted again: that
    merges, for sorting finds the runs.
    """
    runs: list[list[str]] = []
    rest = iter(texts)
    while run := sorted(islice(rest, AT_A_TIME)):
        runs.append(run)
        yield
    samples = sorted(text for run in runs for text in run[::_SAMPLED])
    step = max(1, AT_A_TIME // _SAMPLED)
    taken: list[str] = []
    begun = [0] * len(runs)
    for cut in (*samples[step::step], None):
        ends = [len(run) if cut is None else bisect_right(run, cut) for run in runs]
        piece: list[str] = []
        for run, start, end in zip(runs, begun, ends, strict=True):
            piece += run[start:end]
        taken += sorted(piece)
        begun = ends
        yield
    return taken


def numbered(texts: Sequence[str]) -> Generator[None, None, dict[str, int]]:
    """The place of each of `texts`; others get their turn in between."""
    places: dict[str, int] = {}
    for start in range(0, len(texts), AT_A_TIME):
        places.update(zip(texts[start : start + AT_A_TIME], range(start, len(texts)), strict=False))
        yield
    return places
