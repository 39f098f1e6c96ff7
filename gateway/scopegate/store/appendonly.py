"""The append-only file of the embedded store: where it is damaged, and how its sound part is kept.

Valkey answers a change when the change is on disk, at the end of the newest ``*.incr.aof``. A
change that was being written when everything stopped is the beginning of a command, or of a
transaction, at the very end: nobody was told that it was made. Whatever else cannot be read was
read once, so nobody can tell what is missing.
"""

from __future__ import annotations

import mmap
import os
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DIRECTORY = "appendonlydir"
MANIFEST = "appendonly.aof.manifest"

_LISTED = re.compile(r"file (\S+) seq [0-9]+ type ([bhi])(?: .*)?")
_COMMAND = re.compile(rb"\*([1-9][0-9]{0,9})\r\n")
_WORD = re.compile(rb"\$([0-9]{1,10})\r\n")
# Valkey skips a line that begins with #, and may have to: one that was cut off is continued by the next.
_ANNOTATION = re.compile(rb"#(?:[^\n]*#)?TS:([0-9]{1,11})\r\n|#[^\n]*\n")
_LINE_END = re.compile(rb"\r\n")
_CUT_OFF = re.compile(rb"|[*$][0-9]*\r?|#[^\n]*")


@dataclass(frozen=True, slots=True)
class Survey:
    """What the bytes of an append-only file are.

    ``sound`` counts the bytes up to the end of the last whole change, ``torn`` says whether all that
    follows is the beginning of one more, and ``until`` is about when the sound part ends, if that is told.
    """

    sound: int
    torn: bool
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that cannot be loaded as it is; without a ``survey`` it cannot be mended either."""

    file: Path
    survey: Survey | None = None


def lacks_manifest(data_dir: Path) -> bool:
    """Whether there are files of a store without the one that says which of them count."""
    directory = data_dir / DIRECTORY
    return not (directory / MANIFEST).exists() and (
        any(directory.glob("*.aof")) or any(directory.glob("*.rdb"))
    )


def find_damage(data_dir: Path) -> Damage | None:
    """The first file of a data directory's store that is missing or damaged, as far as one can see.

    A damaged value that still has its length, and a damaged base file, look sound here.
    """
    directory = data_dir / DIRECTORY
    manifest = directory / MANIFEST
    if not manifest.exists():
        return Damage(manifest) if lacks_manifest(data_dir) else None
    listed = [_LISTED.fullmatch(line) for line in manifest.read_text("utf-8", "replace").splitlines()]
    if not listed:
        return Damage(manifest)
    in_use: list[tuple[Path, str]] = []
    for line in listed:
        if line is None:
            return Damage(manifest)
        if line[2] != "h":
            in_use.append((directory / line[1], line[2]))
    for file, kind in in_use:
        if not file.exists():
            return Damage(file)
        if kind == "i":
            found = _survey_file(file)
            if found.sound < file.stat().st_size:
                # After damage, what a later file says would be done to other data than it was meant for.
                return Damage(file, found if file == in_use[-1][0] else None)
    return None


def survey(data: bytes | mmap.mmap) -> Survey:
    """Walk through the commands of an append-only file until one cannot be read."""
    size = len(data)
    at = sound = 0
    until: int | None = None
    open_transaction = False
    torn = False
    while at < size:
        note = _ANNOTATION.match(data, at)
        if note is not None:
            at = note.end()
            until = until if note[1] is None else int(note[1])
        else:
            end, torn, first = _command(data, at)
            if end is None or first == (b"MULTI" if open_transaction else b"EXEC"):
                break
            at = end
            open_transaction = first == b"MULTI" or (open_transaction and first != b"EXEC")
        if not open_transaction:
            sound = at
    return Survey(
        sound=sound,
        torn=sound < size and (torn or at == size),
        until=None if until is None else datetime.fromtimestamp(until, UTC),
    )


def back_up(data_dir: Path) -> Path:
    """Copy the store's files to a new directory beside them, and say where."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return shutil.copytree(data_dir / DIRECTORY, data_dir / f"{DIRECTORY}.damaged-{now}")


def cut_off(file: Path, sound: int) -> None:
    """Keep the first `sound` bytes of a file; they are on disk when this returns."""
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.ftruncate(descriptor, sound)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _survey_file(file: Path) -> Survey:
    with file.open("rb") as opened:
        if not file.stat().st_size:  # nothing cannot be mapped
            return survey(b"")
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return survey(mapped)


def _command(data: bytes | mmap.mmap, at: int) -> tuple[int | None, bool, bytes]:
    """Where the command at `at` ends, or None and whether it is cut off; and its first word."""
    head = _COMMAND.match(data, at)
    if head is None:
        return None, _CUT_OFF.fullmatch(data, at) is not None, b""
    at = head.end()
    first = b""
    for number in range(int(head[1])):
        word = _WORD.match(data, at)
        if word is None:
            return None, _CUT_OFF.fullmatch(data, at) is not None, b""
        begin, end = word.end(), word.end() + int(word[1])
        if data[end : end + 2] != b"\r\n":
            # What we keep has no line ends in it: one that a word swallows betrays a wrong length.
            return None, end + 2 > len(data) and _LINE_END.search(data, begin) is None, b""
        if number == 0:
            first = data[begin:end].upper()
        at = end + 2
    return at, False, first
