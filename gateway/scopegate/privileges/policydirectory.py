"""A directory of Cedar policies, and whether it is still what was read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cedarpy import PolicySet

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST = 16 * 1024 * 1024  # bytes of all files together
_ATTEMPTS = 3  # at reading files while somebody writes them

_Print = tuple[tuple[str, int, int, int], ...]


class PoliciesUnreadable(Exception):
    """The directory cannot be read, or holds no policies, or something that is none. The text says what."""


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """All policies of a directory, compiled, and by what it is told whether that has changed."""

    policies: PolicySet
    text: str
    print: _Print


def read_policies(directory: Path, known: PolicyFiles | None = None) -> PolicyFiles:
    """The policies of all ``*.cedar`` files; `known` itself where nothing has changed since.

    Raises:
        PoliciesUnreadable: nobody can tell what the policies are.
    """
    try:
        for _ in range(_ATTEMPTS):
            before = _print(directory)
            if known is not None and before == known.print:
                return known
            texts = {name: (directory / name).read_bytes().decode() for name, *_ in before}
            if before == _print(directory):
                return _compiled(directory, texts, before)
    except OSError as error:
        raise PoliciesUnreadable(f"{directory} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PoliciesUnreadable(f"a file in {directory} is not UTF-8") from error
    raise PoliciesUnreadable(f"the files in {directory} change all the time")


def _print(directory: Path) -> _Print:
    found = []
    for path in directory.iterdir():
        if path.suffix == ".cedar" and not path.name.startswith("."):
            status = path.stat()
            found.append((path.name, status.st_ino, status.st_mtime_ns, status.st_size))
    if not found:
        raise PoliciesUnreadable(f"there is no file *.cedar in {directory}")
    if sum(size for *_, size in found) > _LARGEST:
        raise PoliciesUnreadable(f"the files in {directory} have more than {_LARGEST} bytes together")
    return tuple(sorted(found))


def _compiled(directory: Path, texts: dict[str, str], print_: _Print) -> PolicyFiles:
    for name, text in texts.items():
        try:
            PolicySet.from_str(text)
        except ValueError as error:
            raise PoliciesUnreadable(f"{directory / name}: {error}") from error
    text = "\n".join(texts.values())
    try:
        return PolicyFiles(PolicySet.from_str(text), text, print_)
    except ValueError as error:
        raise PoliciesUnreadable(f"the files in {directory} do not go together: {error}") from error
