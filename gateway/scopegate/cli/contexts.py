"""The servers that a person works with, each with a token: a file that only that person can read."""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scopegate.core.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Context:
    """One control plane, and who one is there. ``tenant`` is meant where none is named."""

    name: str
    server: str
    token: str | None = field(default=None, repr=False)
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Contexts:
    """All that is in the file. ``current`` names the context that is meant where none is named."""

    entries: Mapping[str, Context] = field(default_factory=dict)
    current: str | None = None

    def named(self, name: str) -> Context:
        """The context with this name.

        Raises:
            NotFound: there is none.
        """
        if name not in self.entries:
            raise NotFound(f"There is no context {name!r}.", hint="List them with: scopegate context list")
        return self.entries[name]

    def of_server(self, server: str) -> Context | None:
        """The context of a server: the current one, if several are of it."""
        current = self.entries.get(self.current or "")
        if current is not None and current.server == server:
            return current
        return next((one for one in self.entries.values() if one.server == server), None)

    def used(self, name: str) -> Contexts:
        """These, with another one as the current."""
        return replace(self, current=self.named(name).name)

    def kept(self, context: Context) -> Contexts:
        """These with one more, which is the current one from now on."""
        return Contexts({**self.entries, context.name: context}, context.name)

    def without(self, name: str) -> Contexts:
        """These with one less; none is current if it was that one."""
        self.named(name)
        left = {key: one for key, one in self.entries.items() if key != name}
        return Contexts(left, None if self.current == name else self.current)


def contexts_file() -> Path:
    """Where they are kept, by the XDG Base Directory Specification."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    # A path that is not absolute is to be ignored, says that specification.
    base = Path(home) if home.startswith("/") else Path.home() / ".config"
    return base / "scopegate" / "contexts.yaml"


def load_contexts() -> Contexts:
    """What the file has; nothing if there is none.

    Raises:
        UsageError: others can read it, or it is not what `save_contexts` writes.
    """
    file = contexts_file()
    try:
        with file.open(encoding="utf-8") as opened:
            if os.fstat(opened.fileno()).st_mode & _OTHERS:
                raise click.UsageError(f"Others may read {file}, which has tokens: chmod 600 {file}")
            text = opened.read()
    except FileNotFoundError:
        return Contexts()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{file} cannot be read: {error}") from None
    import yaml  # noqa: PLC0415 -- only where there is a file

    try:
        return _read(yaml.safe_load(text) or {})
    except (yaml.YAMLError, TypeError, ValueError, AttributeError, KeyError):
        # Nothing of it is repeated: it has tokens.
        raise click.UsageError(f"{file} is not a file of contexts: correct it, or remove it.") from None


def save_contexts(contexts: Contexts) -> None:
    """Write the file anew, in one step."""
    import yaml  # noqa: PLC0415 -- only where there is something to write

    file = contexts_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shown = {
        "current": contexts.current,
        "contexts": {name: _written(one) for name, one in contexts.entries.items()},
    }
    # mkstemp makes a file that only its owner can read.
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=".contexts-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            yaml.safe_dump(shown, opened, sort_keys=False, allow_unicode=True)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read(content: Any) -> Contexts:  # noqa: ANN401 -- whatever YAML can say
    entries = {
        str(name): Context(name=str(name), **_texts(said))
        for name, said in (content.get("contexts") or {}).items()
    }
    current = content.get("current")
    return Contexts(entries, current if current in entries else None)


def _texts(said: Any) -> dict[str, str]:  # noqa: ANN401 -- as above
    texts = {str(member): value for member, value in said.items() if value is not None}
    if not all(isinstance(value, str) for value in texts.values()):
        raise ValueError("not all are texts")
    return texts


def _written(context: Context) -> dict[str, str]:
    return {name: value for name, value in asdict(context).items() if name != "name" and value is not None}
