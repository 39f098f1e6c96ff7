"""``scopegate audit``: who changed what, and whether the log of that is whole."""

from __future__ import annotations

import itertools
import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.moments import parse_since
from scopegate.cli.newfile import new_file
from scopegate.cli.options import through_api
from scopegate.cli.output import Exit, note, print_fields, print_table
from scopegate.core.audit import START, Verification, anchor_of, link, parse

if TYPE_CHECKING:
    from typing import BinaryIO

    from scopegate.cli.invocation import Invocation
    from scopegate.client import Client
    from scopegate.core.audit import Link

_WIDEST_VALUE = 40  # characters
_LARGEST_PAGE = 500  # entries in one request


@click.group("audit")
def audit_group() -> None:
    """Who changed what, when, from where and why."""


@audit_group.command("list")
@click.option("--key", "key_id", metavar="ID", help="Changes of this key alone; ID may be a beginning.")
@click.option("--actor", help="Changes by this actor alone.")
@click.option("--since", help="Changes since then: RFC 3339 with offset, or a period such as 30d, 12h.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Entries at most.")
@through_api
def list_entries(
    invocation: Invocation, key_id: str | None, actor: str | None, since: str | None, limit: int
) -> None:
    """List changes, newest first."""
    after = None if since is None else parse_since(since, datetime.now(UTC))
    with invocation.client() as client:
        found = client.audit(page=min(limit, _LARGEST_PAGE), key=key_id, actor=actor, since=after)
        entries = list(itertools.islice(found, limit))
    if not entries:
        note("There is no such change.")
    answer(invocation, entries, lambda: _print_entries(invocation, entries), name="sequence")


@audit_group.command("verify")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file that was exported, in place of the log.",
)
@through_api
def verify(invocation: Invocation, file: Path | None) -> int:
    """Check that no entry was changed, removed, added or moved.

    Ends with 0 if the log is whole and with 1 if it is not. A file can have lost entries at its end that
    it does not tell of: compare the sequence and the hash of its newest entry with those of the log.
    """
    if file is None:
        with invocation.client() as client:
            told = client.verify_audit().model_dump(mode="json")
    else:
        told = _told(_verify_file(file))
    answer(invocation, told, lambda: _print_verification(told))
    return Exit.OK if told["whole"] else Exit.NEGATIVE


@audit_group.command("export")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="A new file, which only you can read: one entry a line, oldest first.",
)
@through_api
def export(invocation: Invocation, file: Path) -> None:
    """Write all entries that are kept to a new file, with their hashes."""
    with new_file(file) as target, invocation.client() as client:
        newest = _write(client, target)
    told = {"file": str(file), "sequence": newest.sequence, "hash": newest.hash}
    answer(
        invocation,
        told,
        lambda: print_fields(
            [("file", str(file)), ("newest", str(newest.sequence)), ("its hash", newest.hash)]
        ),
    )


def _write(client: Client, target: BinaryIO) -> Link:
    newest = START
    for line in client.export_audit():
        target.write(line + b"\n")
        with suppress(ValueError):  # what was damaged is exported as it is
            newest = link(parse(line))
    target.flush()
    return newest


def _told(verification: Verification) -> JsonObject:
    broken, newest = verification.broken, verification.reached
    return {
        "whole": broken is None,
        "entries": verification.count,
        "sequence": newest.sequence,
        "hash": newest.hash,
        "broken_at": None if broken is None else broken.sequence,
        "what": None if broken is None else broken.what,
    }


def _print_verification(told: JsonObject) -> None:
    print_fields(
        [
            ("log", "whole" if told["whole"] else f"broken at {told['broken_at']}: {told['what']}"),
            ("whole entries", str(told["entries"])),
            ("newest of them", str(told["sequence"])),
            ("its hash", told["hash"]),
        ]
    )


def _print_entries(invocation: Invocation, entries: list[JsonObject]) -> None:
    if not entries:
        return
    more = ("ORIGIN", "HASH") if invocation.wants_wide else ()
    print_table(
        ("SEQUENCE", "AT", "ACTOR", "ACTION", "TARGET", "CHANGED", "REASON", *more),
        [(*_row(one), *((one["origin"], one["hash"]) if more else ())) for one in entries],
    )


def _verify_file(file: Path) -> Verification:
    verification: Verification | None = None
    with file.open("rb") as lines:
        for line in lines:
            entry = line.removesuffix(b"\n")
            if verification is None:
                verification = Verification(anchor_of(entry))
            if not verification.follow(entry):
                break
    return verification or Verification(START)


def _row(entry: JsonObject) -> tuple[str, ...]:
    target = entry["target"]
    return (
        str(entry["sequence"]),
        entry["at"],
        entry["actor"],
        entry["action"],
        " ".join(filter(None, (target["kind"], target["id"]))),
        _changed(entry),
        entry["reason"] or "-",
    )


def _changed(entry: JsonObject) -> str:
    differences = entry["changed"]
    if any(all(one[side] is None for one in differences.values()) for side in ("before", "after")):
        return "-"  # it came or went as a whole
    return "; ".join(
        f"{name}: {_short(one['before'])} -> {_short(one['after'])}" for name, one in differences.items()
    )


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDEST_VALUE else f"{text[: _WIDEST_VALUE - 3]}..."
