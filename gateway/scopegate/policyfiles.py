"""Policy files: YAML in a directory -> core values, every problem with its file and line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from scopegate.core.catalogue import ANY_METHOD, Endpoint
from scopegate.core.errors import InvalidInput, ScopegateError
from scopegate.core.policies import (
    UNLISTED,
    Expectation,
    Policies,
    Verdict,
    endpoint_label,
    judge,
    require_name,
)
from scopegate.core.principal import User
from scopegate.core.wildcard import UrlPattern
from scopegate.yamlfiles import Problem, Value, YamlFile, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")

SECTIONS = ("endpoints", "unlisted_endpoints", "roles", "groups", "principals", "expectations")
_SUFFIXES = frozenset({".yaml", ".yml"})


class PolicyFileError(ScopegateError):
    """The policy files cannot be used.

    The message has one problem a line; ``problems`` has the same as values.
    """

    code = "policy_files_invalid"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "\n".join(map(str, self.problems)),
            hint="Correct these lines; nothing was changed. docs/policies.md describes the format.",
        )


@dataclass(frozen=True, slots=True)
class LoadedPolicies:
    """What a directory of policy files says. ``principals`` are the made-up users of the expectations."""

    policies: Policies
    expectations: tuple[Expectation, ...]
    principals: Mapping[str, User]

    def verdicts(self, policies: Policies | None = None) -> tuple[Verdict, ...]:
        """What the policies, or others in their place, make of the expectations."""
        return judge(self.policies if policies is None else policies, self.principals, self.expectations)


def load(directory: Path) -> LoadedPolicies:
    """Read all YAML files of a directory as one: a file says any of `SECTIONS`, and nothing is said twice.

    Raises:
        PolicyFileError: with all the problems of all the files.
    """
    files, problems = _files(directory)
    loaded = _Reading(files).everything()
    problems += [problem for file in files for problem in file.sorted_problems()]
    if problems or loaded is None:
        raise PolicyFileError(problems)
    return loaded


def _files(directory: Path) -> tuple[list[YamlFile], list[Problem]]:
    """The policy files of a directory, by name, and what is wrong with the directory itself."""

    def problem(path: Path, what: str) -> Problem:
        return Problem(str(path), None, "", what)

    if not directory.is_dir():
        return [], [problem(directory, "there is no such directory")]
    try:
        # Hidden ones are not ours: those of editors, and those of Kubernetes where it mounts files.
        entries = sorted(path for path in directory.iterdir() if not path.name.startswith("."))
        below = [path for path in entries if path.is_dir() and any(map(_is_yaml, path.iterdir()))]
    except OSError as error:
        return [], [problem(directory, f"the directory cannot be read: {error.strerror}")]
    problems = [problem(path, "files in a directory below are not read; move them up") for path in below]
    files = [YamlFile(path) for path in entries if _is_yaml(path) and path not in below]
    if not files and not problems:
        problems.append(problem(directory, "there is no policy file, such as catalogue.yaml"))
    return files, problems


def _is_yaml(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES


class _Once(Generic[T]):
    """What all files together may say once; `twice` tells of a `name` and the `place` that has it."""

    def __init__(self, twice: str) -> None:
        self.values: dict[str, T] = {}
        self._twice = twice
        self._places: dict[str, Value] = {}

    def add(self, name: str, value: T, at: Value) -> None:
        """Keep the value that stands at a place; what is named already is reported."""
        first = self._places.setdefault(name, at)
        if first is at:
            self.values[name] = value
            return
        place = f"line {first.line}" if first.file is at.file else f"{first.file.name}:{first.line}"
        at.report(self._twice.format(name=name, place=place))


class _Reading:
    """Reads section by section, whichever files a section stands in."""

    def __init__(self, files: Sequence[YamlFile]) -> None:
        self._files = files
        self._documents = [_sections(root) for file in files if (root := file.root()) is not None]
        # Nobody is blamed for naming what may be defined where it could not be read.
        self._unsure = set(SECTIONS) if self._count() else set()

    def everything(self) -> LoadedPolicies | None:
        """What the files say, or None where one of them has a problem."""
        roles = self._roles()
        groups = self._groups(roles)
        users = self._principals(roles, groups)
        expectations = self._expectations(users)
        endpoints = self._endpoints()
        unlisted_allowed = self._unlisted()
        if self._count():
            return None
        return LoadedPolicies(Policies(endpoints, unlisted_allowed, roles, groups), expectations, users)

    def _endpoints(self) -> tuple[Endpoint, ...]:
        listed: _Once[Endpoint] = _Once(
            "{name} is listed already in {place}; put all privileges into one entry"
        )
        sections = self._present("endpoints")
        for section in sections:
            for entry in section.items("a list of endpoints"):
                endpoint = _read_endpoint(entry)
                if endpoint is not None:
                    listed.add(endpoint_label(endpoint), endpoint, entry)
        endpoints = tuple(listed.values.values())
        if sections:
            sections[0].accept(lambda: Policies(endpoints).catalogue())
        return endpoints

    def _unlisted(self) -> bool | None:
        said: _Once[bool | None] = _Once("{name} is said already in {place}; say it once")
        for section in self._present("unlisted_endpoints"):
            said.add("unlisted_endpoints", section.choice(UNLISTED), section)
        return next(iter(said.values.values()), None)

    def _roles(self) -> dict[str, frozenset[str]]:
        return self._defined(
            "role",
            lambda role: role.fields("privileges")["privileges"].texts("a list of privileges", _name),
        )

    def _groups(self, roles: Collection[str]) -> dict[str, frozenset[str]]:
        role = self._reference("role", roles)
        return self._defined(
            "group", lambda group: group.fields("roles")["roles"].texts("a list of roles", role)
        )

    def _principals(self, roles: Collection[str], groups: Collection[str]) -> dict[str, User]:
        role, group = self._reference("role", roles), self._reference("group", groups)

        def read(principal: Value) -> User:
            fields = principal.fields(optional=("roles", "groups", "active"))
            return User(
                id=principal.name,
                name=principal.name,
                roles=fields["roles"].texts("a list of roles", role),
                groups=fields["groups"].texts("a list of groups", group),
                active=fields["active"].flag(default=True),
            )

        return self._defined("principal", read)

    def _expectations(self, users: Collection[str]) -> tuple[Expectation, ...]:
        principal = self._reference("principal", users)
        read = [
            _read_expectation(item, principal)
            for section in self._present("expectations")
            for item in section.items("a list of expectations")
        ]
        return tuple(expectation for expectation in read if expectation is not None)

    def _defined(self, kind: str, read: Callable[[Value], T]) -> dict[str, T]:
        """The things of a kind by name, as `read` makes them of what is said of each."""
        defined: _Once[T] = _Once(f"the {kind} {{name!r}} is defined already in {{place}}")
        before = self._count()
        values = [
            value
            for section in self._present(f"{kind}s")
            for value in section.named(f"a mapping of {kind}s", _name)
        ]
        if self._count() > before:
            self._unsure.add(f"{kind}s")
        for value in values:
            defined.add(value.name, read(value), value)
        return defined.values

    def _present(self, section: str) -> list[Value]:
        return [document[section] for document in self._documents if document[section].present]

    def _reference(self, kind: str, defined: Collection[str]) -> Callable[[str], str]:
        """Reads a name that has to be among `defined`; any name will do if those could not be read."""

        def read(text: str) -> str:
            name = _name(text)
            if f"{kind}s" not in self._unsure and name not in defined:
                raise InvalidInput(
                    kind, f"The {kind} {name!r} is not defined.", hint=suggestion(name, defined)
                )
            return name

        return read

    def _count(self) -> int:
        return sum(len(file.problems) for file in self._files)


def _sections(root: Value) -> dict[str, Value]:
    before = len(root.file.problems)
    sections = root.fields(optional=SECTIONS)
    if len(root.file.problems) == before and not any(section.present for section in sections.values()):
        root.report(f"the file says nothing; it can say {', '.join(SECTIONS)}")
    return sections


def _read_endpoint(entry: Value) -> Endpoint | None:
    problems = len(entry.file.problems)
    fields = entry.fields("methods", "url", "privileges", optional=("summary",))
    methods = fields["methods"].texts("a list of methods", _method)
    url = fields["url"].text("a URL", lambda text: UrlPattern.parse(text).text)
    privileges = fields["privileges"].texts("a list of privileges", _name)
    summary = fields["summary"].text("a line of text", _summary) or ""
    if url is None or len(entry.file.problems) > problems:
        return None
    return fields["methods"].accept(lambda: Endpoint(methods, url, privileges, summary))


def _read_expectation(item: Value, principal: Callable[[str], str]) -> Expectation | None:
    source = f"{item.file.name}:{item.line}"

    def build(text: str) -> Expectation:
        expectation = Expectation.parse(text, source=source)
        principal(expectation.principal)
        return expectation

    return item.text("a line of text", build)


def _method(text: str) -> str:
    Endpoint(frozenset({text}), ANY_METHOD)
    return text


def _summary(text: str) -> str:
    return Endpoint(frozenset({ANY_METHOD}), ANY_METHOD, summary=text).summary


def _name(text: str) -> str:
    return require_name("name", text)
