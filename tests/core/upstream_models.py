"""How upstreams are known to read a path: each model turns a canonical path into what its upstream sees.

A model is a list of `Step`s, each a function from text to text. Text is what the upstream has in its
hands after some decoding: one character is one byte (as ISO 8859-1 has it), so nothing is lost.

**The rule on the other side.** Decoding is another spelling of the same name, so a rule is decoded
along with the path: `decoded_rule` decodes its literal parts, and a star stays a star. Whatever else
a model does (cut, strip, merge, resolve) changes which resource is meant, and there the rule stays as
the administrator wrote it.

Out of scope, by decision, and said so in docs/security.md:

- *Unicode normalization (NFKC, NFKD, best fit) and truncation to a byte*: full-width dots and slashes
  become dots and slashes, and U+012F a slash. Refusing all of them would refuse ordinary names in
  ordinary languages. `UNCOVERED` has these models, and a test shows that they are not covered.
- *Ignoring case*: matching is case-sensitive; an upstream that is not has to be known to whoever
  writes rules (a rule opens less than it says, never more, unless its literals differ in case only).
- *A trailing slash that is ignored*: ``/a/*`` also opens ``/a/``, as the star may stand for nothing,
  and an upstream that ignores the last slash takes this for ``/a``. So the models that resolve keep it.
- *A plus that is a space*: in a path it is a plus (RFC 3986); only form fields read it otherwise.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable


class Step(NamedTuple):
    """One habit. ``spells``: it only decodes, so the same is done to the rule's literal parts."""

    name: str
    read: Callable[[str], str]
    spells: bool = False


class Model(NamedTuple):
    """One upstream: its habits, in order."""

    name: str
    steps: tuple[Step, ...]

    def read(self, path: str) -> str:
        """What the upstream sees of a path."""
        for step in self.steps:
            path = step.read(path)
        return path

    @classmethod
    def of(cls, steps: tuple[Step, ...]) -> Model:
        """The upstream that takes these steps."""
        return cls(" > ".join(step.name for step in steps) or "raw", steps)

    @property
    def spelling(self) -> tuple[Step, ...]:
        """What the upstream does to every name, and so to those that a rule spells out."""
        return tuple(step for step in self.steps if step.spells)


def _decode(text: str) -> str:
    return unquote_to_bytes(text.encode("latin-1")).decode("latin-1")


def _decode_u(text: str) -> str:
    """``%uXXXX`` as IIS has it; what is above a byte comes out in UTF-8, as the rest of the text is."""
    return re.sub(
        r"%[uU]([0-9A-Fa-f]{4})",
        lambda found: chr(int(found[1], 16)).encode("utf-8", "surrogatepass").decode("latin-1"),
        text,
    )


def _decode_overlong(text: str) -> str:
    """UTF-8 as a decoder reads it that takes over-long sequences for what their bits say."""

    def ascii_of(found: re.Match[str]) -> str:
        code = 0
        for byte in found[0][1:]:
            code = code << 6 | ord(byte) & 0x3F
        lead = ord(found[0][0]) & (0xFF >> (len(found[0]) + 1))
        code |= lead << 6 * (len(found[0]) - 1)
        return chr(code) if code < 0x80 else found[0]

    return re.sub(
        r"[\xc0-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf7][\x80-\xbf]{3}", ascii_of, text
    )


def _cut_at(delimiters: str) -> Callable[[str], str]:
    return lambda text: re.split(f"[{delimiters}]", text, maxsplit=1)[0]


def _without_parameters(text: str) -> str:
    return re.sub(r";[^/]*", "", text)


def _merged(text: str) -> str:
    return re.sub(r"/{2,}", "/", text)


def _backslashes(text: str) -> str:
    return text.replace("\\", "/")


def _resolved(text: str) -> str:
    """RFC 3986 section 5.2.4."""
    kept: list[str] = []
    segments = text.split("/")[1:]
    for position, segment in enumerate(segments):
        last = position == len(segments) - 1
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
            continue
        if last:
            kept.append("")
    return "/" + "/".join(kept)


def _normpath(text: str) -> str:
    """Python's, which is C's and Go's too, but for the last slash (see above)."""
    normal = posixpath.normpath(text)
    normal = "/" + normal.lstrip("/")  # POSIX keeps two of them, and means something else by it
    ends = re.search(r"/(?:\.{1,2})?\Z", text) is not None
    return normal + "/" if ends and normal != "/" else normal


def _without_trailing(characters: str) -> Callable[[str], str]:
    """As Windows has it: what ends a name in dots and spaces is not part of it."""

    def read(text: str) -> str:
        names = text.split("/")
        return "/".join(name if name in {".", ".."} else name.rstrip(characters) for name in names)

    return read


def _until_nul(text: str) -> str:
    return text.split("\0", 1)[0]


STEPS = (
    decode := Step("decode", _decode, spells=True),
    decode_u := Step("decode %u", _decode_u, spells=True),
    decode_overlong := Step("over-long UTF-8", _decode_overlong, spells=True),
    Step("cut at ? or #", _cut_at("?#")),
    Step("cut at ?", _cut_at("?")),
    Step("cut at #", _cut_at("#")),
    Step("cut ;parameters", _without_parameters),
    Step("merge slashes", _merged),
    Step("backslash is slash", _backslashes),
    Step("resolve dot segments", _resolved),
    Step("normpath", _normpath),
    Step("cut dots and spaces", _without_trailing(". ")),
    Step("cut dots", _without_trailing(".")),
    Step("cut spaces", _without_trailing(" ")),
    Step("until NUL", _until_nul),
)

# What is decoded, and how often. Every upstream that does up to two (or so) more things before, between
# and after is one of the models: a server, and the framework or the file system behind it.
DECODINGS = ((), (decode,), (decode, decode), (decode_u,), (decode, decode_u), (decode, decode_overlong))


def _in_unicode(change: Callable[[str], str]) -> Callable[[str], str]:
    """A step on characters, where text has bytes."""

    def read(text: str) -> str:
        try:
            return change(text.encode("latin-1").decode("utf-8")).encode("utf-8").decode("latin-1")
        except UnicodeDecodeError:
            return text

    return read


UNCOVERED = (
    Model("NFKC", (decode, Step("NFKC", _in_unicode(lambda text: unicodedata.normalize("NFKC", text))))),
    Model(
        "low byte",
        (decode, Step("low byte", _in_unicode(lambda text: "".join(chr(ord(c) & 0xFF) for c in text)))),
    ),
)


@lru_cache(maxsize=64)
def readings_of(path: str, *, most_habits: int = 2) -> dict[tuple[str, tuple[Step, ...]], Model]:
    """What all upstreams see of a path, and how they spell; with one of them for each.

    Two that have come to the same text with the same things left to do are followed as one.
    """
    known: dict[tuple[Step, str], str] = {}
    found: dict[tuple[str, tuple[Step, ...]], Model] = {}
    for decodings in DECODINGS:
        # (text, decodings done, habits that only decode too) -> what was done
        reached: dict[tuple[str, int, tuple[Step, ...]], tuple[Step, ...]] = {(path, 0, ()): ()}
        for habits in range(most_habits + 1):
            following: dict[tuple[str, int, tuple[Step, ...]], tuple[Step, ...]] = {}
            frontier = list(reached.items())
            for (text, done, spelling), steps in frontier:  # grows: decoding is free
                if done < len(decodings):
                    step = decodings[done]
                    state = (_read(known, step, text), done + 1, (*spelling, step))
                    if state not in reached:
                        reached[state] = (*steps, step)
                        frontier.append((state, reached[state]))
                elif (text, spelling) not in found:
                    found[text, spelling] = Model.of(steps)
                if habits < most_habits:
                    for step in STEPS:
                        spelled = (*spelling, step) if step.spells else spelling
                        following.setdefault((_read(known, step, text), done, spelled), (*steps, step))
            reached = following
    return found


def _read(known: dict[tuple[Step, str], str], step: Step, text: str) -> str:
    seen = known.get((step, text))
    if seen is None:
        seen = known[step, text] = step.read(text)
    return seen


def admits(rule: str, reading: str, spelling: tuple[Step, ...]) -> bool:
    """Whether a rule's path admits what an upstream sees that spells so; slow, and no regular expression.

    `rule` is a canonical pattern; its stars stand for any run, and its literal parts for themselves in
    the upstream's spelling.
    """
    first, *rest = _literals(rule, spelling)
    if not rest:
        return reading == first
    if not reading.startswith(first):
        return False
    at = len(first)
    *middle, last = rest
    for part in middle:  # the leftmost place is the best one: it leaves most to the others
        found = reading.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(reading) - at >= len(last) and reading.endswith(last)


@lru_cache(maxsize=256)
def _literals(rule: str, spelling: tuple[Step, ...]) -> tuple[str, ...]:
    parts = rule.split("*")
    for step in spelling:
        parts = [step.read(part) for part in parts]
    return tuple(parts)
