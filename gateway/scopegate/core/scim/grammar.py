"""Filters and paths as they are written (RFC 7644 sections 3.4.2.2 and 3.5.2)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from scopegate.core.scim.attributes import SUBS_NOT_KEPT, Attribute, Kind, Type
from scopegate.core.scim.refusals import ScimRefused, ScimType

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_FILTER = 4_096  # characters
MOST_TERMS = 100
DEEPEST = 10  # parentheses and brackets within each other

_TOKEN = re.compile(
    r"""(?P<space>\ +)
    |(?P<text>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*")
    |(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?(?![A-Za-z0-9_.]))
    |(?P<word>[A-Za-z$][A-Za-z0-9_$:.-]*)
    |(?P<mark>[()\[\]])
    |(?P<sub>\.(?P<subname>[A-Za-z$][A-Za-z0-9_$-]*))""",
    re.VERBOSE,
)
_NAME = re.compile(r"(\$ref|[A-Za-z][A-Za-z0-9_-]*)(?:\.(\$ref|[A-Za-z][A-Za-z0-9_-]*))?")
_WORDS = {"true": True, "false": False, "null": None}


class Operator(StrEnum):
    """How a value is compared."""

    EQUAL = "eq"
    NOT_EQUAL = "ne"
    CONTAINS = "co"
    STARTS = "sw"
    ENDS = "ew"
    GREATER = "gt"
    LESS = "lt"
    GREATER_OR_EQUAL = "ge"
    LESS_OR_EQUAL = "le"


_OPERATORS = frozenset(operator.value for operator in Operator)
_ORDERING = frozenset({Operator.GREATER, Operator.LESS, Operator.GREATER_OR_EQUAL, Operator.LESS_OR_EQUAL})
_ON_PARTS = frozenset({Operator.CONTAINS, Operator.STARTS, Operator.ENDS})
Literal = str | bool | int | float | None


@dataclass(frozen=True, slots=True)
class Target:
    """An attribute that a filter or a path names.

    ``schema`` is the extension that it belongs to; None for the resource's own schema. ``attribute`` is
    None where RFC 7643 defines it and it is not kept. ``sub`` is the sub-attribute that is named, and
    ``keeps`` tells whether that one is kept, if any is named.
    """

    schema: str | None
    attribute: Attribute | None
    sub: Attribute | None = None
    keeps: bool = True

    @property
    def leaf(self) -> Attribute | None:
        """What is compared or written: the sub-attribute if one is named; None if it is not kept."""
        return (self.sub or self.attribute) if self.keeps else None


@dataclass(frozen=True, slots=True)
class Present:
    """The attribute has a value."""

    target: Target


@dataclass(frozen=True, slots=True)
class Comparison:
    """A value of the attribute compares to ``value``."""

    target: Target
    operator: Operator
    value: Literal


@dataclass(frozen=True, slots=True)
class Each:
    """One value of a multi-valued attribute fits ``condition``, whose targets are its sub-attributes."""

    target: Target
    condition: Filter


@dataclass(frozen=True, slots=True)
class All:
    """All of ``parts`` hold."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """One of ``parts`` holds."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """``part`` does not hold."""

    part: Filter


Filter = Present | Comparison | Each | All | Any | Not


@dataclass(frozen=True, slots=True)
class Path:
    """The target of a patch: an attribute, those of its values that fit ``condition``, a sub-attribute.

    ``target.attribute`` and ``target.schema``: where both are None the path is not kept at all.
    ``extension`` is the schema where the path names a whole extension.
    """

    target: Target
    condition: Filter | None = None
    extension: str | None = None


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def parse_filter(text: str, kinds: Sequence[Kind]) -> Filter:
    """The filter that is written, over attributes that one of `kinds` has.

    Raises:
        ScimRefused: invalidFilter: it is none, or it is longer or deeper than what is read.
    """
    if len(text) > LONGEST_FILTER:
        raise ScimRefused(ScimType.INVALID_FILTER, f"A filter has at most {LONGEST_FILTER} characters.")
    parser = _Parser(_tokens(text, ScimType.INVALID_FILTER), kinds, ScimType.INVALID_FILTER)
    found = parser.filter(None)
    parser.end()
    return found


def parse_path(text: str, kind: Kind) -> Path:
    """The path of a patch of a `kind`.

    Raises:
        ScimRefused: invalidPath: it is none, or names an attribute that there is not.
    """
    if len(text) > LONGEST_FILTER:
        raise ScimRefused(ScimType.INVALID_PATH, f"A path has at most {LONGEST_FILTER} characters.")
    for schema in (kind.schema, *kind.not_kept, *kind.extensions):
        if text.strip().lower() == schema.lower():
            return Path(Target(None, None), extension=schema)
    parser = _Parser(_tokens(text.strip(), ScimType.INVALID_PATH), [kind], ScimType.INVALID_PATH)
    found = parser.path()
    parser.end()
    return found


def target_of(word: str, kinds: Sequence[Kind], refusal: ScimType) -> Target:
    """The attribute that `word` names, with or without its schema.

    Raises:
        ScimRefused: none of `kinds` has it.
    """
    for kind in kinds:
        schema, name = _without_schema(word, kind)
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        attribute = kind.attribute(match[1], schema)
        if attribute is None:
            if kind.ignores(match[1], schema):
                return Target(schema, None, keeps=False)
            continue
        if match[2] is None:
            return Target(schema, attribute)
        found = _sub_of(Target(schema, attribute), match[2])
        if found is not None:
            return found
    raise ScimRefused(refusal, f"There is no attribute {word[:100]!r} here.")


def _sub_of(target: Target, name: str) -> Target | None:
    if target.attribute is None:
        return target  # nothing of it is kept
    sub = target.attribute.sub(name)
    if sub is not None:
        return Target(target.schema, target.attribute, sub)
    if name.lower() in SUBS_NOT_KEPT.get(target.attribute.name, frozenset()):
        return Target(target.schema, target.attribute, keeps=False)
    return None


def _without_schema(word: str, kind: Kind) -> tuple[str | None, str]:
    """The extension that a name begins with, and the rest of it."""
    folded = word.lower()
    for schema in (kind.schema, *(one for one in kind.not_kept if one != kind.schema)):
        if folded.startswith(f"{schema.lower()}:"):
            return (None if schema == kind.schema else schema), word[len(schema) + 1 :]
    return None, word


def _tokens(text: str, refusal: ScimType) -> list[_Token]:
    found, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ScimRefused(refusal, f"It cannot be read from character {position + 1} on.")
        kind = "sub" if match["sub"] else str(match.lastgroup)
        found.append(_Token(kind, match["subname"] or match[0]))
        position = match.end()
    return found


class _Parser:
    """Reads tokens once, from left to right; spaces count where the grammar has them."""

    def __init__(self, tokens: list[_Token], kinds: Sequence[Kind], refusal: ScimType) -> None:
        self._tokens = tokens
        self._kinds = kinds
        self._refusal = refusal
        self._at = 0
        self._depth = 0
        self._terms = 0

    def end(self) -> None:
        """Make sure that nothing is left."""
        self._skip()
        if self._at < len(self._tokens):
            raise self._unreadable()

    def filter(self, within: Attribute | None) -> Filter:
        """A filter: `or` binds least; `within` a value path, names are those of its sub-attributes."""
        parts = [self._conjunction(within)]
        while self._keyword("or"):
            parts.append(self._conjunction(within))
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def path(self) -> Path:
        """The path of a patch."""
        target = target_of(self._take("word"), self._kinds, self._refusal)
        if not self._mark("["):
            return Path(target)
        condition = self._values(target)
        if self._is_next("sub"):
            found = _sub_of(target, self._take("sub"))
            if found is None:
                raise self._unreadable()
            target = found
        return Path(target, condition)

    def _conjunction(self, within: Attribute | None) -> Filter:
        parts = [self._term(within)]
        while self._keyword("and"):
            parts.append(self._term(within))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _term(self, within: Attribute | None) -> Filter:
        self._skip()
        self._terms += 1
        if self._terms > MOST_TERMS:
            raise ScimRefused(self._refusal, f"There are more than {MOST_TERMS} terms in it.")
        if self._keyword("not", before="("):
            self._skip()
            self._mark("(")
            return Not(self._parenthesis(within))
        if self._mark("("):
            return self._parenthesis(within)
        return self._expression(within)

    def _parenthesis(self, within: Attribute | None) -> Filter:
        outer = self._deeper()
        inner = self.filter(within)
        self._skip()
        if not self._mark(")"):
            raise self._unreadable()
        self._depth = outer
        return inner

    def _expression(self, within: Attribute | None) -> Filter:
        word = self._take("word")
        if within is None:
            target = target_of(word, self._kinds, self._refusal)
            if self._mark("["):
                return self._each(target, self._values(target))
        else:
            found = _sub_of(Target(None, within), word)
            if found is None:
                raise ScimRefused(self._refusal, f"There is no sub-attribute {word[:100]!r} here.")
            target = found
        return self._tested(target)

    def _tested(self, target: Target) -> Filter:
        """What is said of a target: that it is present, or how it compares."""
        self._space()
        operator = self._take("word").lower()
        if operator == "pr":
            return Present(target)
        if operator not in _OPERATORS:
            raise self._unreadable()
        self._space()
        return self._comparison(target, Operator(operator), self._literal())

    def _each(self, target: Target, condition: Filter) -> Filter:
        """A value path, behind which providers also write what they compare of its values.

        The grammar of RFC 7644 has that in paths alone; Microsoft Entra ID asks for people by
        ``emails[type eq "work"].value eq "..."``.
        """
        if not self._is_next("sub"):
            return Each(target, condition)
        named = _sub_of(target, self._take("sub"))
        if named is None:
            raise self._unreadable()
        return Each(target, All((condition, self._tested(named))))

    def _is_next(self, kind: str) -> bool:
        return self._at < len(self._tokens) and self._tokens[self._at].kind == kind

    def _values(self, target: Target) -> Filter:
        """What is in the brackets behind an attribute with several values."""
        attribute = target.attribute
        if attribute is not None and not (attribute.multi and attribute.subs and target.sub is None):
            raise ScimRefused(self._refusal, f"{attribute.name} has no values to choose from.")
        outer = self._deeper()
        inner = self.filter(attribute or _ANYTHING)
        self._skip()
        if not self._mark("]"):
            raise self._unreadable()
        self._depth = outer
        return inner

    def _comparison(self, target: Target, operator: Operator, value: Literal) -> Comparison:
        leaf = target.leaf
        if leaf is not None and leaf.type is Type.COMPLEX:
            # RFC 7643 section 2.4: the value of such a value is its "value".
            of = leaf.sub("value")
            if of is None:
                raise ScimRefused(self._refusal, f"Compare a part of {leaf.name}.")
            target = Target(target.schema, leaf, of)
            leaf = of
        if leaf is not None and leaf.type is Type.BOOLEAN:
            if operator in _ORDERING | _ON_PARTS:
                raise ScimRefused(self._refusal, f"{leaf.name} is true or false: it cannot be {operator}.")
            if isinstance(value, str) and value.lower() in _WORDS:
                value = _WORDS[value.lower()]
        if operator in _ON_PARTS and not isinstance(value, str):
            raise ScimRefused(self._refusal, f"{operator} compares text.")
        if operator in _ORDERING and (value is None or isinstance(value, bool)):
            raise ScimRefused(self._refusal, f"{operator} compares what has an order.")
        return Comparison(target, operator, value)

    def _literal(self) -> Literal:
        if self._at >= len(self._tokens):
            raise self._unreadable()
        token = self._tokens[self._at]
        self._at += 1
        if token.kind in {"text", "number"}:
            return _value_of(token.text, self._refusal)
        if token.kind == "word" and token.text.lower() in _WORDS:
            return _WORDS[token.text.lower()]
        raise self._unreadable()

    def _deeper(self) -> int:
        before = self._depth
        self._depth += 1
        if self._depth > DEEPEST:
            raise ScimRefused(self._refusal, f"It is nested more than {DEEPEST} deep.")
        return before

    def _take(self, kind: str) -> str:
        if self._at >= len(self._tokens) or self._tokens[self._at].kind != kind:
            raise self._unreadable()
        self._at += 1
        return self._tokens[self._at - 1].text

    def _mark(self, mark: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == _Token("mark", mark):
            self._at += 1
            return True
        return False

    def _keyword(self, word: str, *, before: str | None = None) -> bool:
        """Step over a word and the spaces before it, if it is there; over ``not`` only before its ``(``."""
        at = self._after_spaces(self._at)
        if (
            at >= len(self._tokens)
            or self._tokens[at].kind != "word"
            or self._tokens[at].text.lower() != word
        ):
            return False
        if before is not None:
            following = self._after_spaces(at + 1)
            if self._tokens[following : following + 1] != [_Token("mark", before)]:
                return False
        self._at = at + 1
        return True

    def _after_spaces(self, at: int) -> int:
        while at < len(self._tokens) and self._tokens[at].kind == "space":
            at += 1
        return at

    def _skip(self) -> None:
        self._at = self._after_spaces(self._at)

    def _space(self) -> None:
        self._take("space")

    def _unreadable(self) -> ScimRefused:
        if self._at < len(self._tokens):
            shown = self._tokens[self._at].text[:40]
            return ScimRefused(self._refusal, f"It cannot be read at {shown!r}.")
        return ScimRefused(self._refusal, "It ends too early.")


def _value_of(literal: str, refusal: ScimType) -> Literal:
    value: Literal = json.loads(literal)
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        raise ScimRefused(refusal, "It has half of a surrogate pair.")
    return value


# Stands for an attribute that is not kept, of which nothing is known: it has no value that could fit.
_ANYTHING = Attribute(
    name="",
    description="",
    type=Type.COMPLEX,
    multi=True,
    subs=tuple(
        Attribute(name=name, description="")
        for name in ("type", "value", "display", "formatted", "streetAddress", "locality", "region")
    )
    + tuple(Attribute(name=name, description="") for name in ("postalCode", "country", "$ref"))
    + (Attribute(name="primary", description="", type=Type.BOOLEAN),),
)
