"""What URL patterns have in common and what one leaves over, decided and not sampled.

The requests that are told of are canonical ones whose path has one reading (`other_readings` has none
beside it). They stand for all: a rule admits a path only with all of its readings, and a user may call it
only if that holds for each of them; the last of the readings, which nothing more can be left out of, is
such a path itself. So whether rules open anything in common, whether one opens more than another, and
whether a user can use anything of a rule has the same answer for all requests and for these.

A ``*`` is also a character that a request may send, and no pattern asks for it. So a pattern, read as a
URL, is a request; whatever admits that one admits all that the pattern does. Hence `UrlPattern.covers` is
exact, and patterns that cover another one together do so because one of them does.

What is left is decided by the product of the patterns' automata: all positions in which the patterns can
be after a text are one state (a bit for each), and the shortest texts come first. A character that none of
the wanted patterns waits for can as well be one that no pattern at all waits for.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from functools import lru_cache
from itertools import chain, combinations, islice, takewhile
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from scopegate.core.errors import ScopegateError
from scopegate.core.paths import other_readings
from scopegate.core.wildcard import UrlPattern, by_character, matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

V = TypeVar("V")

STATES = 50_000  # of the automata for one question: most of a second
_STAR = "*"
# A character of the path: an escaped one is as many escapes as UTF-8 has bytes for it.
_PATH_CHARACTER = re.compile(r"%[C-F][0-9A-F](?:%[89AB][0-9A-F])+|%[0-9A-F]{2}|.", re.DOTALL)
# None is a hexadecimal digit. No pattern ever waits for the star, so it is last.
_FRESH = (*"xyzwvqkj", _STAR)


class Undecided(ScopegateError):
    """The patterns are too many, or their wildcards, to tell within the bound of states."""

    code = "undecided"

    def __init__(self) -> None:
        super().__init__(
            "The URL patterns are too complex to tell what they have in common.",
            hint="Use fewer * in them.",
        )


class Budget:
    """How many states may be looked at until a question, or several together, is given up.

    Args:
        states: how many; no more than are `left` of the one that it is a part of.
        of: what it is a part of.
    """

    __slots__ = ("_of", "left")

    def __init__(self, states: int = STATES, *, of: Budget | None = None) -> None:
        self.left: int = states if of is None else min(states, of.left)
        self._of = of

    def spend(self) -> None:
        """Take one state off.

        Raises:
            Undecided: none is left.
        """
        if self.left <= 0:
            raise Undecided
        self.left -= 1
        if self._of is not None:
            self._of.left -= 1


class Witness(NamedTuple):
    """A canonical request target that proves something. ``host`` is None for a request without one."""

    path: str
    host: str | None = None


def opens_nothing(pattern: UrlPattern) -> bool:
    """Whether no request is admitted by `pattern`: some upstream reads less than it asks for.

    ``/a;b`` is one, for there are upstreams to which that is ``/a``.
    """
    return bool(other_readings(pattern.path))


def witness(
    inside: Sequence[Iterable[UrlPattern]],
    outside: Iterable[UrlPattern] = (),
    *,
    budget: Budget | None = None,
) -> Witness | None:
    """A request that one pattern of each group of `inside` matches, and none of `outside`; a short one.

    None is a proof that there is no such request. Of requests whose path has several readings it proves
    that for a single group, and where nothing is outside; see the module.

    Args:
        inside: groups of patterns. Within a group they are alternatives.
        outside: what the request must not match.
        budget: how much may be looked at; `STATES` unless something else is said.

    Raises:
        Undecided: the budget was used up before that was known.
    """
    excluded = [pattern for pattern in outside if not opens_nothing(pattern)]
    groups = [
        [
            pattern
            for pattern in group
            if not opens_nothing(pattern) and not any(other.covers(pattern) for other in excluded)
        ]
        for group in inside
    ]
    return search(groups, excluded, Budget() if budget is None else budget)


def search(
    inside: Sequence[Sequence[UrlPattern]], outside: Sequence[UrlPattern], budget: Budget
) -> Witness | None:
    """As `witness`, for patterns each of which admits something, and is not wholly outside.

    Raises:
        Undecided: as `witness`.
    """
    groups = [[one for one in group if _meets_each(one, inside)] for group in inside]
    if not all(groups):
        return None
    excluded = [pattern for pattern in outside if _meets_each(pattern, groups)]
    for host, matched in _hosts(groups, excluded, budget):
        path = _path(
            [[one.path for one in group if one.host in matched] for group in groups],
            [other.path for other in excluded if other.host in matched],
            budget,
        )
        if path is not None:
            return Witness(path, host)
    return None


def meet(*patterns: UrlPattern, budget: Budget | None = None) -> bool:
    """Whether there is a request that all of the patterns match.

    Raises:
        Undecided: as `witness`.
    """
    if any(map(opens_nothing, patterns)):
        return False
    if len({pattern.host for pattern in patterns} - {None}) > 1:
        return witness([[pattern] for pattern in patterns], budget=budget) is not None
    return all(_paths_meet(one.path, other.path) for one, other in combinations(patterns, 2))


def may_meet(one: UrlPattern, other: UrlPattern) -> bool:
    """Whether there is a path that both patterns match, and nearly always whether there is a host too."""
    if one.host is not None and other.host is not None and not _ends_meet(one.host, other.host):
        return False
    return _paths_meet(one.path, other.path)


def _meets_each(one: UrlPattern, groups: Sequence[Sequence[UrlPattern]]) -> bool:
    return all(any(may_meet(one, other) for other in group) for group in groups)


def _paths_meet(one: str, other: str) -> bool:
    if not _ends_meet(one, other):
        return False
    # With a star in each, what stands between their ends can follow each other in one path.
    if _STAR not in one:
        return matches(other, one)
    return _STAR in other or matches(one, other)


def _ends_meet(one: str, other: str) -> bool:
    (head, wild, tail), (other_head, other_wild, other_tail) = _ends(one), _ends(other)
    if wild and other_wild:
        heads_meet = head.startswith(other_head) or other_head.startswith(head)
        return heads_meet and (tail.endswith(other_tail) or other_tail.endswith(tail))
    if wild:
        return other_head.startswith(head) and other_tail.endswith(tail)
    if other_wild:
        return head.startswith(other_head) and tail.endswith(other_tail)
    return one == other


@lru_cache(maxsize=8_192)
def _ends(pattern: str) -> tuple[str, bool, str]:
    """What a pattern begins with, whether it has a star, and what it ends with, in whole characters."""
    pattern = by_character(pattern)
    head, star, _ = pattern.partition(_STAR)
    return head, bool(star), pattern.rpartition(_STAR)[2]


class PatternIndex(Generic[V]):
    """Patterns in the order of how they begin, each with a value, to find those that may meet another one."""

    __slots__ = ("_heads", "_lengths", "_sorted")

    def __init__(self, patterns: Iterable[tuple[UrlPattern, V]]) -> None:
        self._heads: dict[str, list[tuple[UrlPattern, V]]] = {}
        for pattern, value in patterns:
            self._heads.setdefault(_ends(pattern.path)[0], []).append((pattern, value))
        self._sorted = sorted(self._heads)
        self._lengths = sorted({len(head) for head in self._heads})

    def near(self, pattern: UrlPattern) -> list[tuple[UrlPattern, V]]:
        """Those of which it takes more than a look at both ends to tell that they do not meet `pattern`."""
        head = _ends(pattern.path)[0]
        first = bisect_left(self._sorted, head)
        longer = takewhile(lambda other: other.startswith(head), islice(self._sorted, first, None))
        shorter = (head[:length] for length in self._lengths if length < len(head))
        return [
            (one, value)
            for begun in chain(shorter, longer)
            for one, value in self._heads.get(begun, ())
            if may_meet(one, pattern)
        ]


# Automata


class _Automaton:
    """Patterns side by side, a bit for each position; a state is the set of positions that are reached.

    Args:
        patterns: each as its characters, of which ``*`` is the wildcard.
        wanted: how many of them, from the first, are waited for; the others only must not match.
    """

    __slots__ = ("_awaited", "_literals", "_stars", "fresh", "spans", "start")

    def __init__(self, patterns: Sequence[Sequence[str]], wanted: int) -> None:
        self._literals: dict[str, int] = {}
        self._stars = 0
        self.start = 0
        self.spans: list[tuple[int, int]] = []  # of each pattern: all of its bits, and the last of them
        position = 0
        for pattern in patterns:
            first = 1 << position
            self.start |= first
            for character in pattern:
                bit = 1 << position
                if character == _STAR:
                    self._stars |= bit
                else:
                    self._literals[character] = self._literals.get(character, 0) | bit
                position += 1
            end = 1 << position
            self.spans.append(((end << 1) - first, end))
            position += 1
        self.start = self._closed(self.start)
        of_wanted = (1 << sum(len(pattern) + 1 for pattern in patterns[:wanted])) - 1
        self._awaited = [
            (character, places & of_wanted, places)
            for character, places in self._literals.items()
            if places & of_wanted
        ]
        self.fresh = next(character for character in _FRESH if character not in self._literals)

    def _closed(self, state: int) -> int:
        """A star may stand for nothing. Two stars never follow each other."""
        return state | (state & self._stars) << 1

    def following(self, state: int) -> Iterator[tuple[str, int]]:
        """What comes of each character that a wanted pattern waits for, and of one that no pattern does."""
        staying = state & self._stars
        for character, awaited, places in self._awaited:
            if state & awaited:
                yield character, self._closed((state & places) << 1 | staying)
        yield self.fresh, self._closed(staying)


_NOTHING, _IN_NAME = "", "a"
Form = str | int
"""Where in the grammar of paths or of hosts a text has got to."""


class _Reached(NamedTuple):
    """What a text leads to. The text is that of ``before``, and ``character``."""

    state: int
    form: Form
    character: str = ""
    before: _Reached | None = None

    @property
    def text(self) -> str:
        characters = []
        place: _Reached | None = self
        while place is not None:
            characters.append(place.character)
            place = place.before
        return "".join(reversed(characters))


def _search(
    automaton: _Automaton,
    step: Callable[[Form, str], Form | None],
    alive: Callable[[int], bool],
    budget: Budget,
) -> Iterator[_Reached]:
    """All that texts lead to, the shortest texts first.

    Args:
        automaton: what reads the texts.
        step: the form after another character; None: no text goes on like that.
        alive: whether anything that is wanted can come of a state.
        budget: what is reached costs a state.
    """
    seen: set[tuple[int, Form]] = set()
    frontier = deque([_Reached(automaton.start, _NOTHING)] if alive(automaton.start) else [])
    while frontier:
        budget.spend()
        place = frontier.popleft()
        yield place
        for character, state in automaton.following(place.state):
            form = step(place.form, character)
            if form is not None and alive(state) and (state, form) not in seen:
                seen.add((state, form))
                frontier.append(_Reached(state, form, character, place))


# Paths

_NAME_STARTS, _MUST_GO_ON = "/", "."
_ENDS = (_NAME_STARTS, _IN_NAME)
_TRIMMED = frozenset({".", "%20"})  # a name that ends so has another reading
_HEX = frozenset("0123456789ABCDEFabcdef")
_PERCENT = "%25"
_DOUBLE_ESCAPES = frozenset({"%2500", "%25u0000"})


def _path(groups: Sequence[Sequence[str]], excluded: Sequence[str], budget: Budget) -> str | None:
    """A path of one reading that one pattern of each group matches, and none that is excluded."""
    if not all(groups):
        return None
    spelled = [*(path for group in groups for path in group), *excluded]
    automaton = _Automaton([_path_characters(path) for path in spelled], len(spelled) - len(excluded))
    spans = iter(automaton.spans)
    wanted = [[next(spans) for _ in group] for group in groups]
    living = [_union(span for span, _ in group) for group in wanted]
    accepting = [_union(end for _, end in group) for group in wanted]
    rest = list(spans)
    refusing = _union(end for _, end in rest)
    # A star at the end takes all that may come: what got there is matched for good.
    lost = _union(end >> 1 for (_, end), path in zip(rest, excluded, strict=True) if path.endswith(_STAR))

    def alive(state: int) -> bool:
        return not state & lost and all(state & span for span in living)

    for reached in _search(automaton, _path_form, alive, budget):
        state, may_end = reached.state, str(reached.form).startswith(_ENDS)
        if may_end and not state & refusing and all(state & end for end in accepting):
            return reached.text
    return None


@lru_cache(maxsize=8_192)
def _path_characters(path: str) -> tuple[str, ...]:
    # All paths begin with a slash, also those that the star alone admits.
    return tuple(_PATH_CHARACTER.findall("/*" if path == _STAR else path))


@lru_cache(maxsize=4_096)
def _path_form(form: Form, character: str) -> Form | None:
    """The grammar of `canonical_path`, without what has several readings.

    The form is what the last character was, and what of an escape within an escape there is.
    """
    assert isinstance(form, str)  # noqa: S101 -- for mypy: a number is a form of hosts
    kind, _, begun = form.partition("|")
    if character == "/":
        return _NAME_STARTS if kind in {_NOTHING, _IN_NAME} else None
    begun_now = _double_escape(begun, character)
    if kind == _NOTHING or begun_now is None:
        return None
    return (_MUST_GO_ON if character in _TRIMMED else _IN_NAME) + (begun_now and f"|{begun_now}")


def _double_escape(begun: str, character: str) -> str | None:
    """What there is of an escape within an escape, all digits as 0; None: a whole one, which is refused."""
    if character == _PERCENT:
        return _PERCENT
    if begun == _PERCENT and character in "uU":
        return _PERCENT + "u"
    if not begun or character not in _HEX:
        return ""
    begun += "0"
    return None if begun in _DOUBLE_ESCAPES else begun


# Hosts

_IN_BRACKETS, _BRACKETS_END, _PORT = "[", "]", ":"
_HOST_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._~!$&'()*+,;=-")
_ADDRESS = frozenset("0123456789abcdef:.")
_DEFAULT_PORTS = frozenset({":80", ":443"})
_LONGEST_PORT = len(":65535")
_LONGEST_NAME = 255


def _hosts(
    groups: Sequence[Sequence[UrlPattern]], excluded: Sequence[UrlPattern], budget: Budget
) -> Iterator[tuple[str | None, frozenset[str | None]]]:
    """A host for each set of host patterns that hosts match, with that set; None is among all of the sets.

    A request without a host comes last: it matches only what asks for none.
    """
    named = sorted({one.host for group in (*groups, excluded) for one in group if one.host is not None})
    if named:
        needed = [
            frozenset(one.host for one in group)
            for group in groups
            if all(one.host is not None for one in group)
        ]
        yield from _named_hosts(named, needed, budget)
    yield None, frozenset({None})


def _named_hosts(
    named: Sequence[str], needed: Sequence[frozenset[str | None]], budget: Budget
) -> Iterator[tuple[str, frozenset[str | None]]]:
    automaton = _Automaton([tuple(host) for host in named], len(named))
    living = [
        _union(span for host, (span, _) in zip(named, automaton.spans, strict=True) if host in group)
        for group in needed
    ]

    def alive(state: int) -> bool:
        return all(state & span for span in living)

    ends = [(host, end) for host, (_, end) in zip(named, automaton.spans, strict=True)]
    seen = set()
    for reached in _search(automaton, _host_form, alive, budget):
        matched = frozenset(host for host, end in ends if reached.state & end)
        if matched not in seen and _is_host(reached.form):
            seen.add(matched)
            if len(reached.text.partition(":")[0]) <= _LONGEST_NAME:
                yield reached.text, matched | {None}


def _is_host(form: Form) -> bool:
    """Whether a host may end like that. A default port is left out before hosts are compared."""
    if isinstance(form, int):
        return False
    if form.startswith(_PORT):
        return form != _PORT and form not in _DEFAULT_PORTS
    return form in {_IN_NAME, _BRACKETS_END}


@lru_cache(maxsize=4_096)
def _host_form(form: Form, character: str) -> Form | None:
    """The grammar of `canonical_host`: how many characters of an address there are, the port, or its kind."""
    if isinstance(form, int):
        return _address_form(form, character)
    if form.startswith(_PORT):
        return form + character if character.isdecimal() and len(form) < _LONGEST_PORT else None
    if character == ":":
        return _PORT if form in {_IN_NAME, _BRACKETS_END} else None
    if form == _NOTHING and character == "[":
        return 0
    return _IN_NAME if form in {_NOTHING, _IN_NAME} and character in _HOST_NAME else None


def _address_form(length: int, character: str) -> Form | None:
    if character == "]":
        return _BRACKETS_END if length >= 2 else None  # noqa: PLR2004 -- "::", the shortest address
    return length + 1 if character in _ADDRESS and length < 45 else None  # noqa: PLR2004 -- an IPv4 in an IPv6


def _union(masks: Iterable[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union
