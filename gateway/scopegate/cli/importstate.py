"""How far an import has come, kept beside the file, so that one that breaks off can go on."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from scopegate.core.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

_HEAD = 64 * 1024  # bytes of the file by which it is known


@dataclass(frozen=True, slots=True)
class Progress:
    """What became of the rows so far, and of which file for which tenant they are.

    All rows that begin up to the line ``behind`` are done. So many bytes of the ``report`` tell of them
    as ``reported`` says.
    """

    file: str
    destination: str
    behind: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    failed: int = 0
    report: str | None = None
    reported: int = 0

    @property
    def done(self) -> int:
        """How many rows were looked at."""
        return self.added + self.changed + self.unchanged + self.failed

    def fits(self, other: Progress) -> bool:
        """Whether the other one is about the same file and the same tenant."""
        return (self.file, self.destination) == (other.file, other.destination)

    def with_more(self, *, added: int = 0, changed: int = 0, unchanged: int = 0, failed: int = 0) -> Progress:
        """The same, with so many rows more."""
        return replace(
            self,
            added=self.added + added,
            changed=self.changed + changed,
            unchanged=self.unchanged + unchanged,
            failed=self.failed + failed,
        )


def identity_of(path: Path) -> str:
    """What tells a file from another one, or from itself after a change: size, time and beginning."""
    try:
        with path.open("rb") as file:
            head = sha256(file.read(_HEAD)).hexdigest()
            about = os.fstat(file.fileno())
    except OSError as error:
        raise InvalidInput("file", f"Cannot read {path}: {error.strerror}.") from error
    return f"{about.st_size} {about.st_mtime_ns} {head}"


def read_progress(path: Path) -> Progress | None:
    """What was kept there; None if there is nothing that can be read."""
    try:
        return Progress(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def keep_progress(path: Path, progress: Progress) -> None:
    """Keep it there, wholly or not at all.

    Raises:
        InvalidInput: that cannot be written.
    """
    new = path.with_name(f"{path.name}.new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(progress), file)
        new.replace(path)
    except OSError as error:
        raise InvalidInput(
            "state",
            f"Cannot write {path}: {error.strerror}.",
            hint="Name another place with --state.",
        ) from error


def forget_progress(path: Path) -> None:
    """Nothing is to go on any more."""
    path.unlink(missing_ok=True)
