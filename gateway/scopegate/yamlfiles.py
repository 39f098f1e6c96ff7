"""YAML files that people write: values with the lines they stand in, and every problem at once."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import yaml

from scopegate.core.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

MAX_FILE_SIZE = 4 << 20
MAX_DEPTH = 16

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SHOWN = 40
_NAMES_SHOWN = 12
_TAG = "tag:yaml.org,2002:"
_FOUND = {
    f"{_TAG}map": "a mapping",
    f"{_TAG}seq": "a list",
    f"{_TAG}str": "text",
    f"{_TAG}int": "a number",
    f"{_TAG}float": "a number",
    f"{_TAG}bool": "true or false",
    f"{_TAG}null": "nothing",
    f"{_TAG}timestamp": "a date",
}

_TRUE = {"true", "yes", "on"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at one place. ``line`` counts from 1; ``path`` is empty for a whole file."""

    file: str
    line: int | None
    path: str
    what: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.path}: {self.what}" if self.path else f"{place}: {self.what}"


class YamlFile:
    """One file, with the problems that were found in it."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.problems: list[Problem] = []
        self._path = path

    def report(self, line: int | None, what: str, path: str = "") -> None:
        """Note a problem."""
        self.problems.append(Problem(self.name, line, path, what))

    def sorted_problems(self) -> list[Problem]:
        """The problems in the order of their lines."""
        return sorted(self.problems, key=lambda problem: problem.line or 0)

    def root(self) -> Value | None:
        """The whole document, or None where there is none that can be walked (reported)."""
        text = self._text()
        if text is None:
            return None
        try:
            if self._has_odd_structure(text):
                return None
            node = yaml.compose(text, Loader=_LOADER)
        except yaml.YAMLError as error:
            self.report(*syntax_problem(error, text))
            return None
        if node is None:
            self.report(1, "the file is empty")
            return None
        return Value(self, node, "", 1)

    def _text(self) -> str | None:
        try:
            if not self._path.is_file():
                self.report(None, "this is not a file")
                return None
            with self._path.open("rb") as stream:
                content = stream.read(MAX_FILE_SIZE + 1)
        except OSError as error:
            self.report(None, f"the file cannot be read: {error.strerror}")
            return None
        if len(content) > MAX_FILE_SIZE:
            self.report(None, f"the file is larger than {MAX_FILE_SIZE >> 20} MiB")
            return None
        return self._decoded(content)

    def _decoded(self, content: bytes) -> str | None:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self.report(line, f"the byte 0x{content[error.start]:02X} is not UTF-8; save the file as UTF-8")
            return None
        # YAML's own readers say this too, but count bytes in C and characters in Python.
        odd = yaml.reader.Reader.NON_PRINTABLE.search(text)
        if odd is not None:
            line = text.count("\n", 0, odd.start()) + 1
            self.report(line, f"the character U+{ord(odd[0]):04X} cannot stand in a YAML file")
            return None
        return text

    def _has_odd_structure(self, text: str) -> bool:
        """Whether there is something here that the walk would have to bear with (reported).

        Events come without recursion and without following aliases, so neither a tower of brackets
        nor a "billion laughs" costs anything.
        """
        depth = 0
        for event in yaml.parse(text, Loader=_LOADER):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if getattr(event, "anchor", None) is not None:
                self.report(
                    line,
                    "anchors and aliases are not allowed; repeat the value, or quote a text that starts with"
                    " & or *",
                )
                return True
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                self.report(line, f"nested deeper than {MAX_DEPTH} levels")
                return True
        return False


@dataclass(frozen=True, slots=True)
class Value:
    """A YAML node and where it stands; ``node`` is None for a key that is not there.

    Each reader returns the value if the node has the wanted type. If not, it reports the problem
    and returns something empty, so that the walk goes on and finds the next problem.
    """

    file: YamlFile
    node: yaml.Node | None
    path: str
    line: int
    name: str = ""

    @property
    def present(self) -> bool:
        """Whether there is anything."""
        return self.node is not None

    def report(self, what: str) -> None:
        """Note a problem with this value."""
        self.file.report(self.line, what, self.path)

    def fields(self, *required: str, optional: tuple[str, ...] = ()) -> dict[str, Value]:
        """The entries of a mapping whose keys are fixed, each of them; what is not there is absent."""
        known = (*required, *optional)
        entries = self._entries(f"a mapping with {', '.join(known)}")
        if entries is None:
            return {name: self._absent() for name in known}
        missing = [name for name in required if name not in entries]
        for name, value in entries.items():
            if name not in known:
                similar = _similar(name, known)
                # What is only misspelt is not missing as well.
                missing = [key for key in missing if key != similar]
                self.file.report(
                    value.line, f"unknown key {_shown(name)}. {suggestion(name, known)}", self.path
                )
        for name in missing:
            self.report(f"{name!r} is missing")
        return {name: entries.get(name, self._absent()) for name in known}

    def named(self, expected: str, build: Callable[[str], str]) -> Iterator[Value]:
        """The entries of a mapping whose keys are names that the file defines, if `build` takes them."""
        for name, value in (self._entries(expected) or {}).items():
            try:
                build(name)
            except InvalidInput as invalid:
                self.file.report(value.line, _sentences(invalid), self.path)
            else:
                yield value

    def items(self, expected: str) -> list[Value]:
        """The values of a list."""
        if not isinstance(self.node, yaml.SequenceNode) or self.node.tag != f"{_TAG}seq":
            self._report_type(expected)
            return []
        return [
            Value(self.file, node, f"{self.path}[{index}]", node.start_mark.line + 1)
            for index, node in enumerate(self.node.value)
        ]

    def text(self, expected: str, build: Callable[[str], T]) -> T | None:
        """What `build` makes of a text."""
        if not isinstance(self.node, yaml.ScalarNode) or self.node.tag != f"{_TAG}str":
            self._report_type(expected, hint=_quoting(self.node))
            return None
        text: str = self.node.value
        return self.accept(lambda: build(text))

    def texts(self, expected: str, build: Callable[[str], str]) -> frozenset[str]:
        """What `build` makes of each text in a list; one that comes twice is reported."""
        texts: set[str] = set()
        for item in self.items(expected):
            text = item.text("text", build)
            if text in texts:
                item.report(f"{text!r} is listed twice")
            elif text is not None:
                texts.add(text)
        return frozenset(texts)

    def flag(self, *, default: bool) -> bool:
        """True or false."""
        if isinstance(self.node, yaml.ScalarNode) and self.node.tag == f"{_TAG}bool":
            return self.node.value.lower() in _TRUE
        self._report_type("true or false")
        return default

    def choice(self, values: Mapping[str, T]) -> T | None:
        """What one of a few words stands for."""
        expected = " or ".join(values)
        text = self.text(expected, str)
        if text is not None and text not in values:
            self.report(f"expected {expected}, found {_shown(text)}")
        return None if text is None else values.get(text)

    def accept(self, build: Callable[[], T]) -> T | None:
        """What `build` makes, or None where the core refuses it (reported)."""
        try:
            return build()
        except InvalidInput as invalid:
            self.report(_sentences(invalid))
            return None

    def _entries(self, expected: str) -> dict[str, Value] | None:
        if not isinstance(self.node, yaml.MappingNode) or self.node.tag != f"{_TAG}map":
            self._report_type(expected)
            return None
        entries: dict[str, Value] = {}
        for key, node in self.node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag != f"{_TAG}str":
                self.file.report(
                    line, f"expected a name as key, found {_found(key)}{_quoting(key)}", self.path
                )
            elif key.value in entries:
                first = entries[key.value].line
                self.file.report(
                    line, f"the key {_shown(key.value)} stands already in line {first}", self.path
                )
            else:
                path = f"{self.path}.{key.value}" if self.path else key.value
                entries[key.value] = Value(self.file, node, path, line, key.value)
        return entries

    def _absent(self) -> Value:
        return Value(self.file, None, self.path, self.line)

    def _report_type(self, expected: str, *, hint: str = "") -> None:
        if self.node is not None:
            self.report(f"expected {expected}, found {_found(self.node)}{hint}")


def _found(node: yaml.Node) -> str:
    return _FOUND.get(node.tag) or f"a value with the tag {_shown(node.tag.replace(_TAG, '!!'))}"


def _quoting(node: yaml.Node | None) -> str:
    # YAML reads 007, on, 2027-01-31 and the like as something other than text.
    if not isinstance(node, yaml.ScalarNode) or node.tag not in _FOUND or not node.value:
        return ""
    return f"; to mean the text, write {node.value!r} in quotes"


def _sentences(invalid: InvalidInput) -> str:
    return f"{invalid.message} {invalid.hint}" if invalid.hint else invalid.message


def _similar(name: str, known: Collection[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, known, n=1)), None)


def suggestion(name: str, known: Collection[str]) -> str:
    """What else somebody who wrote `name` may have meant."""
    similar = _similar(name, known)
    if similar is not None:
        return f"Did you mean {similar!r}?"
    return f"Known: {', '.join(sorted(known)[:_NAMES_SHOWN]) or 'none'}."


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def syntax_problem(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    """The line, and what is wrong there, of a text that YAML's parser does not take."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return 1, "this is not YAML"
    lines = text.splitlines() or [""]
    # An error at the end of the file is marked behind its last line.
    line = min(mark.line + 1, len(lines))
    if isinstance(error, yaml.composer.ComposerError):
        return line, "a second document starts here; a file holds one"
    if lines[line - 1].lstrip(" ").startswith("\t"):
        return line, "this is not YAML: a tab in the indentation; indent with spaces"
    if getattr(error, "context", None) == "while scanning an alias":
        return line, "this is not YAML: * begins an alias; write '*' in quotes"
    return line, f"this is not YAML: {getattr(error, 'problem', None) or 'it cannot be parsed'}"
