"""All requests that can be said with a few characters, and patterns so short that some of them match."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

from hypothesis import assume
from hypothesis import strategies as st

from scopegate.core.errors import InvalidInput
from scopegate.core.paths import canonical_path, readings
from scopegate.core.reasons import RequestRefused
from scopegate.core.wildcard import PatternSet, UrlPattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def canonical(path: str) -> bool:
    try:
        return canonical_path(path.encode()) == path
    except RequestRefused:
        return False


def _paths(tokens: Sequence[str], longest: int) -> dict[str, tuple[str, ...]]:
    return {
        path: readings(path)
        for length in range(longest + 1)
        for letters in product(tokens, repeat=length)
        if canonical(path := "/" + "".join(letters))
    }


# An escape ends with what is also a letter here, and many of the paths have several readings.
TOKENS = ("/", "a", "b", ".", "%20", "2", "0", ";")
READINGS = _paths(TOKENS, 4)
# Fewer characters, of which patterns ask for all but one, in longer paths.
LONGER = _paths(("/", "a", ".", ";", "x"), 5)
HOSTS = (None, "a", "a.b", "a:8080")

_READ = {reading for several in READINGS.values() for reading in several}


def _parsed(text: str) -> UrlPattern:
    try:
        return UrlPattern.parse(text)
    except InvalidInput:
        assume(False)  # noqa: FBT003 -- hypothesis's own
        raise


def patterns() -> st.SearchStrategy[UrlPattern]:
    """Patterns of the characters of `READINGS`."""
    letters = st.lists(st.sampled_from((*TOKENS, "*", "*", "*", "/a", "*/")), max_size=3)
    hosts = st.sampled_from(("", "", "", "https://a", "https://*", "https://*b", "https://a:8080"))
    return st.builds("{}/{}".format, hosts, letters.map("".join)).map(_parsed)


def shorter_urls() -> st.SearchStrategy[str]:
    """Patterns of the characters of `LONGER`, so short that what two share and others do not is in it."""
    letters = st.lists(st.sampled_from(("/", "a", "a", ".", "*", "*")), max_size=2)
    hosts = st.sampled_from(("", "", "", "https://a", "https://*"))
    return st.builds("{}/{}".format, hosts, letters.map("".join)).map(lambda text: _parsed(text).text)


@lru_cache(maxsize=10_000)
def requests_of(one: UrlPattern) -> frozenset[tuple[str, str | None]]:
    """What a pattern admits of all these requests: the paths of which it matches every reading."""
    matcher = PatternSet([(one, one)])
    admitted: set[tuple[str, str | None]] = set()
    for host in HOSTS:
        matched = {reading for reading in _READ if matcher.matching_literally(reading, host)}
        admitted |= {(path, host) for path, several in READINGS.items() if matched.issuperset(several)}
    return frozenset(admitted)


def requests_of_any(several: Iterable[UrlPattern]) -> frozenset[tuple[str, str | None]]:
    return frozenset[tuple[str, str | None]]().union(*map(requests_of, several))
