"""URL patterns: ``*`` stands for any run of characters, ``/`` and the empty run included.

An escape counts as one character. Nothing else is special, matching is case-sensitive (host names
apart) and anchored at both ends. Patterns compile to RE2, which matches a thousand of them in one
pass and in time linear in the path, whatever the pattern.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import quote

import re2

from scopegate.core.errors import InvalidInput, MatchingFailed
from scopegate.core.paths import canonical_path, other_readings
from scopegate.core.reasons import RequestRefused
from scopegate.core.request import canonical_host

if TYPE_CHECKING:
    from collections.abc import Iterable

V = TypeVar("V")

MAX_PATTERN_LENGTH = 2_048
MAX_STARS = 16

_FULL_URL = re.compile(r"(https?)://([^/]*)(.*)", re.IGNORECASE | re.ASCII)
_STARS = re.compile(r"\*+")
_ESCAPE = re.compile(r"%([0-9A-F]{2})")
_FIRST_ESCAPED = 0x100
_SET_MEMORY = 16 << 20  # bytes, for the patterns of one key and method, or of one catalogue


@dataclass(frozen=True, slots=True)
class UrlPattern:
    """A rule's URL in canonical form: a path pattern and, for a full URL, the host it needs.

    ``text`` is the spelling to show and to store.
    """

    text: str
    path: str
    host: str | None = None

    @classmethod
    def parse(cls, text: str) -> UrlPattern:
        """Read a pattern as an administrator writes it.

        It is a path (``/api/recordings/*``), a full URL (``https://host/api/*``: the host has to
        match too; the scheme is not compared, as TLS often ends before us) or ``*`` alone. The path
        goes through the same canonicalizer as a request's.

        Raises:
            InvalidInput: on ``url``, with the fix in the hint.
        """
        if len(text) > MAX_PATTERN_LENGTH:
            raise _invalid(
                text[:40] + "…", f"is longer than {MAX_PATTERN_LENGTH} characters", "Shorten it with *."
            )
        for delimiter in "?#":
            if delimiter in text:
                raise _invalid(
                    text,
                    f"contains '{delimiter}'",
                    "Rules match the path, never the query or fragment: end the URL before it.",
                )
        text = _STARS.sub("*", text)
        if text.count("*") > MAX_STARS:
            raise _invalid(
                text, f"has more than {MAX_STARS} wildcards", "Use fewer *: one matches across '/' too."
            )
        if text == "*":
            return cls(text="*", path="*")
        if text.startswith("/"):
            path = _canonical_pattern_path(text, text)
            return cls(text=path, path=path)
        full = _FULL_URL.fullmatch(text)
        if full is None:
            raise _invalid(text, "is not a URL", "Start with https:// or /, use * as wildcard.")
        scheme, authority, rest = full[1].lower(), full[2], full[3]
        if not rest:
            raise _invalid(text, "has no path", f"Add one, for example {text}/*.")
        written = _canonical_pattern_host(text, authority)
        host = _without_default_port(written)
        if host != written and host.endswith("*"):
            # With the port cut off, the wildcard would stand for every port.
            raise _invalid(text, "has a wildcard right before a default port", "Leave the port out.")
        path = _canonical_pattern_path(text, rest)
        return cls(text=f"{scheme}://{host}{path}", path=path, host=host)

    def matches(self, *, path: str, host: str | None) -> bool:
        """Whether this one pattern admits a canonical path (and host)."""
        return bool(PatternSet([(self, self)]).matching(path, host))

    @property
    def as_request(self) -> tuple[str, str | None]:
        """The path and the host that the pattern is, its stars taken for characters like others.

        A request may send a ``*``, and no pattern waits for one: what admits this request admits all that
        the pattern does.
        """
        return "/*" if self.path == "*" else self.path, self.host

    def covers(self, other: UrlPattern) -> bool:
        """Whether this pattern admits all that `other` admits; exact where that is anything."""
        path, host = other.as_request
        if self.host is not None and (host is None or not matches(self.host, host)):
            return False
        return matches(self.path, path)


# Each rule is held against each endpoint, and each key against all others.
pattern_of = lru_cache(maxsize=16_384)(UrlPattern.parse)


def matches(pattern: str, text: str) -> bool:
    """Whether the path or host `text` is what `pattern` asks for, a star in it being a character as others.

    So a pattern as text tells whether `pattern` matches whatever its stars may stand for, which has no end.
    """
    one, other = by_character(pattern), by_character(text)
    first, *rest = one.split("*")
    if not rest:
        return one == other
    *middle, last = rest
    if not other.startswith(first):
        return False
    end = len(other) - len(last)
    position = len(first)
    for literal in middle:
        found = other.find(literal, position)
        if found < 0:
            return False
        position = found + len(literal)
    return position <= end and other.endswith(last)


class PatternSet(Generic[V]):
    """Many patterns that are matched at once, each with the value that it stands for.

    Raises:
        InvalidInput: RE2 cannot hold the patterns within its memory bound.
    """

    __slots__ = ("_by_host", "_by_path")

    def __init__(self, patterns: Iterable[tuple[UrlPattern, V]]) -> None:
        by_path: list[tuple[str, V]] = []
        by_host: list[tuple[str, V]] = []
        for pattern, value in patterns:
            path = _expression(pattern.path, star=".*")
            if pattern.host is None:
                by_path.append((path, value))
            else:
                by_host.append((_expression(pattern.host, star="[^/]*") + path, value))
        self._by_path = _Matcher(by_path) if by_path else None
        self._by_host = _Matcher(by_host) if by_host else None

    def matching(self, path: str, host: str | None = None) -> list[V]:
        """The values of the patterns that admit every reading of the canonical `path` at `host`.

        Patterns that are to be told apart need different values.
        """
        found = self.matching_literally(path, host)
        for other in other_readings(path):
            admitting = self.matching_literally(other, host)
            found = [value for value in found if value in admitting]
        return found

    def matching_literally(self, path: str, host: str | None = None) -> list[V]:
        """The values of the patterns that admit just this reading of a path."""
        found = [] if self._by_path is None else self._by_path.values(path)
        if self._by_host is not None and host is not None:
            found += self._by_host.values(_without_default_port(host) + path)
        return found


class _Matcher(Generic[V]):
    """One RE2 set, and the value that each of its expressions stands for."""

    __slots__ = ("_always", "_match", "_values")

    def __init__(self, expressions: list[tuple[str, V]]) -> None:
        options = re2.Options()
        options.never_capture = True
        options.log_errors = False
        options.max_mem = _SET_MEMORY
        patterns = re2.Set.FullMatchSet(options)
        for expression, _ in expressions:
            patterns.Add(expression)
        # RE2 answers "no match" where its memory runs out while matching. This one always matches,
        # so an answer without it is no answer.
        self._always = patterns.Add(".*")
        try:
            patterns.Compile()
        except re2.error:
            raise InvalidInput(
                "rules",
                "The rules are too complex to match in bounded memory.",
                hint="Use fewer rules, or fewer * in them.",
            ) from None
        self._match = patterns._set.Match  # noqa: SLF001 -- the wrapper of bytes does nothing but cost time
        self._values = [value for _, value in expressions]

    def values(self, text: str) -> list[V]:
        found = self._match(by_character(text).encode())
        if not found:
            raise MatchingFailed("The rules could not be matched in bounded memory.")
        found.remove(self._always)
        values = self._values
        return [values[number] for number in found] if len(found) > 1 else [values[found[0]]] if found else []


def _expression(pattern: str, *, star: str) -> str:
    return star.join(re2.escape(literal) for literal in by_character(pattern).split("*"))


def by_character(text: str) -> str:
    """`text` with one character in place of each escape, so that no star stands for a half of one.

    Otherwise ``/*20`` would match ``/a%20``, which does not end in 20 to whoever decodes it.
    """
    if "%" not in text:
        return text
    return _ESCAPE.sub(lambda found: chr(_FIRST_ESCAPED + int(found[1], 16)), text)


def _without_default_port(host: str) -> str:
    # Both, whatever the scheme: where TLS ends before us, the port that the client used is not known.
    return host.removesuffix(":80").removesuffix(":443")


def _canonical_pattern_path(text: str, path: str) -> str:
    try:
        raw = path.encode("ascii")
    except UnicodeEncodeError:
        encoded = quote(path, safe="/%!$&'()*+,;=:@~", errors="replace")
        raise _invalid(text, "has characters outside ASCII", f"Write it percent-encoded: {encoded}") from None
    try:
        return canonical_path(raw)
    except RequestRefused as refused:
        raise _invalid(
            text,
            f"can match no request ({refused.reason})",
            "Write the path without dot segments, empty segments, spaces or other characters that a"
            " URL path cannot hold; * is the only wildcard.",
        ) from None


def _canonical_pattern_host(text: str, authority: str) -> str:
    try:
        return canonical_host(authority.encode("ascii"))
    except (RequestRefused, UnicodeEncodeError):
        raise _invalid(
            text, "has no valid host", "Write https://host/path or https://host:port/path."
        ) from None


def _invalid(text: str, what: str, hint: str) -> InvalidInput:
    return InvalidInput("url", f"The URL {text!r} {what}.", hint=hint, code="url_invalid")
