"""Files that a command writes: always new ones, which only their owner can read."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scopegate.core.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO


def open_new(path: Path, field: str) -> int:
    """The descriptor of a new file at `path`, to be written.

    Raises:
        InvalidInput: there is such a file, or it cannot be made; `field` names the option.
    """
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInput(
            field,
            f"Cannot create {path}: {error.strerror}.",
            hint="Name a file that does not exist yet, in a directory that you may write to.",
        ) from error


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A new file at `path`; it goes again if what is to be in it cannot be had.

    Raises:
        InvalidInput: as `open_new`.
    """
    descriptor = open_new(path, "file")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
    except BaseException:
        path.unlink()
        raise
