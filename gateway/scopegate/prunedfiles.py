"""Large YAML and JSON files of which only some parts are wanted; the rest is passed over, not kept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import yaml

from scopegate.core.errors import InvalidInput
from scopegate.yamlfiles import Problem, syntax_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MAX_SIZE = 64 << 20  # bytes
MAX_DEPTH = 128
MAX_MERGED = 100_000  # entries that merge keys (<<) bring along

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_JSON_PLACE = re.compile(r" \(byte (\d+)\)")

Shape: TypeAlias = "Mapping[str, Shape] | None"
"""What is wanted of a mapping: its keys, ``*`` for all others, and what of each; None for all there is."""


@dataclass(frozen=True, slots=True)
class Found:
    """A value and the line that it begins in, from 1; None for JSON, which tells no lines.

    Of a scalar it is the text as it is written, for a version ``3.1`` or a name ``no`` is no number and no
    truth value here.
    """

    value: str | dict[str, Found] | list[Found] | None
    line: int | None


class Unreadable(InvalidInput):
    """The file cannot be read; the message begins with its name and, where there is one, the line."""

    def __init__(self, problem: Problem) -> None:
        super().__init__("file", str(problem), code="file_unreadable")


def read(path: Path, shape: Shape) -> Found:
    """What `shape` names of the YAML or JSON document in a file.

    Raises:
        Unreadable: it is none, or too large, or nested too deeply.
    """
    content = _content(path)
    if content.lstrip()[:1] == b"{":
        try:
            return _of_json(msgspec.Raw(content), shape)
        except msgspec.DecodeError as error:
            raise Unreadable(_json_problem(path, content, str(error))) from None
        except (RecursionError, UnicodeDecodeError):
            raise Unreadable(Problem(str(path), None, "", "nested too deeply, or not UTF-8")) from None
    return _YamlReader(str(path), _decoded(path, content)).document(shape)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_SIZE + 1)
    except OSError as error:
        raise Unreadable(
            Problem(str(path), None, "", f"the file cannot be read: {error.strerror}")
        ) from error
    if len(content) > MAX_SIZE:
        raise Unreadable(Problem(str(path), None, "", f"the file is larger than {MAX_SIZE >> 20} MiB"))
    return content.removeprefix(b"\xef\xbb\xbf")


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unreadable(Problem(str(path), line, "", "this is not UTF-8")) from None


def _json_problem(path: Path, content: bytes, message: str) -> Problem:
    place = _JSON_PLACE.search(message)
    line = None if place is None else content.count(b"\n", 0, int(place[1])) + 1
    return Problem(str(path), line, "", f"this is not JSON: {_JSON_PLACE.sub('', message)}")


def _of_json(raw: msgspec.Raw, shape: Shape) -> Found:
    if shape is None or bytes(raw).lstrip()[:1] != b"{":
        return _kept(msgspec.json.decode(raw))
    entries = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    found: dict[str, Found] = {}
    for name, value in entries.items():
        wanted = _wanted(shape, name)
        if wanted is not _NOTHING:
            found[name] = _of_json(value, wanted)
    return Found(found, None)


def _kept(value: object) -> Found:
    match value:
        case dict():
            return Found({name: _kept(item) for name, item in value.items()}, None)
        case list():
            return Found([_kept(item) for item in value], None)
        case None:
            return Found(None, None)
        case bool():
            return Found("true" if value else "false", None)
        case _:
            return Found(str(value), None)


class _YamlReader:
    """Builds what is wanted from YAML's events, which come without recursion and without following aliases.

    An alias is the value that it stands for, not a copy, so a "billion laughs" costs nothing here. What has
    an anchor is kept whole wherever it stands, for an alias in a wanted part may name it.
    """

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self._events: Iterator[yaml.Event] = iter(())
        self._anchors: dict[str, Found] = {}
        self._depth = 0
        self._merged = 0

    def document(self, shape: Shape) -> Found:
        try:
            self._events = yaml.parse(self._text, Loader=_LOADER)
            event = self._next()
            while not isinstance(event, yaml.NodeEvent):
                if isinstance(event, yaml.StreamEndEvent):
                    raise self._problem(event, "the file is empty")
                event = self._next()
            found = self._value(event, shape)
            for event in self._events:
                if isinstance(event, yaml.DocumentStartEvent):
                    raise self._problem(event, "a second document starts here; a file holds one")
        except yaml.YAMLError as error:
            line, what = syntax_problem(error, self._text)
            raise Unreadable(Problem(self._name, line, "", what)) from None
        return found

    def _next(self) -> yaml.Event:
        event = next(self._events)
        self._depth += isinstance(event, yaml.CollectionStartEvent)
        self._depth -= isinstance(event, yaml.CollectionEndEvent)
        if self._depth > MAX_DEPTH:
            raise self._problem(event, f"nested deeper than {MAX_DEPTH} levels")
        return event

    def _value(self, event: yaml.Event, shape: Shape) -> Found:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._problem(event, f"nothing before this has the anchor &{event.anchor}")
            return self._anchors[event.anchor]
        anchor = _anchor(event)
        line, whole = _line(event), None if anchor is not None else shape
        found: Found
        if isinstance(event, yaml.MappingStartEvent):
            found = Found(self._mapping(whole), line)
        elif isinstance(event, yaml.SequenceStartEvent):
            found = Found(self._sequence(), line)
        else:
            assert isinstance(event, yaml.ScalarEvent)  # noqa: S101 -- there is no other node
            found = Found(None if event.implicit[0] and event.value in _NULLS else event.value, line)
        if anchor is not None:
            self._anchors[anchor] = found
        return found

    def _sequence(self) -> list[Found]:
        items = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._value(event, None))
        return items

    def _mapping(self, shape: Shape) -> dict[str, Found]:
        entries: dict[str, Found] = {}
        merged: list[Found] = []
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._problem(event, "expected a name as key")
            name: str = event.value
            if name == "<<" and event.implicit[0]:
                merged.append(self._value(self._next(), None))
                continue
            wanted = _wanted(shape, name)
            if wanted is _NOTHING:
                self._pass_over()
            elif name in entries:
                raise self._problem(
                    event, f"the key {name[:40]!r} stands already in line {entries[name].line}"
                )
            else:
                value = self._value(self._next(), wanted)
                # Where the key stands is where a person looks.
                entries[name] = Found(value.value, _line(event))
        return {**self._inherited(merged, shape), **entries} if merged else entries

    def _inherited(self, merged: list[Found], shape: Shape) -> dict[str, Found]:
        inherited: dict[str, Found] = {}
        for found in merged:
            sources = found.value if isinstance(found.value, list) else [found]
            for source in sources:
                if isinstance(source.value, dict):
                    self._merged += len(source.value)
                    if self._merged > MAX_MERGED:
                        what = f"merge keys (<<) bring along more than {MAX_MERGED} entries"
                        raise Unreadable(Problem(self._name, found.line, "", what))
                    for name, value in source.value.items():
                        if _wanted(shape, name) is not _NOTHING:
                            inherited.setdefault(name, value)
        return inherited

    def _pass_over(self) -> None:
        """Pass over one value, but for what has an anchor in it."""
        depth = 0
        while True:
            event = self._next()
            if _anchor(event) is not None:
                self._value(event, None)
            else:
                depth += isinstance(event, yaml.CollectionStartEvent)
                depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth == 0:
                return

    def _problem(self, event: yaml.Event, what: str) -> Unreadable:
        return Unreadable(Problem(self._name, _line(event), "", what))


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _anchor(event: yaml.Event) -> str | None:
    return event.anchor if isinstance(event, yaml.NodeEvent) else None


_NOTHING: Shape = {}


def _wanted(shape: Shape, name: str) -> Shape:
    """What is wanted of the entry `name`; `_NOTHING` if it is not."""
    if shape is None:
        return None
    return shape.get(name, shape.get("*", _NOTHING))
