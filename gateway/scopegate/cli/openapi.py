"""``scopegate openapi``: the description of an API becomes a draft of the catalogue."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.newfile import new_file
from scopegate.cli.options import without_instance
from scopegate.cli.output import note, print_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from scopegate.cli.invocation import Invocation
    from scopegate.core.operations import DraftedEntry, Operation
    from scopegate.openapifiles import ApiDescription

_SOURCES = ("security", "tags", "none")  # as `openapifiles.PrivilegesFrom`
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How a description is read."""
    base_path = click.option(
        "--base-path",
        metavar="PATH",
        help="What its paths are below, such as /api/v2, or '' for nothing.  [default: what its server says]",
    )
    privileges_from = click.option(
        "--privileges-from",
        type=click.Choice(_SOURCES),
        default=_SOURCES[0],
        show_default=True,
        help="What privileges are made of: the scopes of 'security', tags (TAG.read, TAG.write), nothing.",
    )
    only = click.option(
        "--only",
        metavar="URL",
        multiple=True,
        help="Only operations that this pattern covers, such as /api/users/*. Repeatable.",
    )
    return base_path(privileges_from(only(command)))


def described(
    path: Path, base_path: str | None, privileges_from: str, only: tuple[str, ...]
) -> ApiDescription:
    """What the OpenAPI document at `path` says."""
    from scopegate.core.wildcard import UrlPattern  # noqa: PLC0415 -- --help does without RE2 and YAML
    from scopegate.openapifiles import PrivilegesFrom, load_openapi  # noqa: PLC0415

    found = load_openapi(path, base_path=base_path, privileges_from=PrivilegesFrom(privileges_from))
    wanted = [UrlPattern.parse(url) for url in only or ("*",)]
    kept = (
        operation
        for operation in found.operations
        if any(pattern.covers(UrlPattern.parse(operation.url)) for pattern in wanted)
    )
    return replace(found, operations=tuple(kept))


@click.group("openapi")
def openapi_group() -> None:
    """Read the OpenAPI document of the API that is protected."""


@openapi_group.command("draft")
@click.argument("spec", type=FILE)
@reading_options
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A new file to write to, such as policies/catalogue.yaml.",
)
@without_instance
def draft_catalogue(
    invocation: Invocation,
    spec: Path,
    base_path: str | None,
    privileges_from: str,
    only: tuple[str, ...],
    out: Path | None,
) -> None:
    """Print a catalogue for the operations of SPEC, an OpenAPI 3 document in YAML or JSON.

    It is a policy file to be read and corrected: what the document does not say, nobody can draft.
    """
    from scopegate.core.operations import draft  # noqa: PLC0415 -- as above
    from scopegate.draftwriting import write_draft  # noqa: PLC0415

    found = described(spec, base_path, privileges_from, only)
    entries = draft(found.operations)
    text = write_draft(spec.name, found, entries)
    shown = [_entry_object(entry) for entry in entries]
    if out is None:
        answer(invocation, shown, lambda: click.echo(text, nl=False), name="url")
    else:
        with new_file(out) as target:
            target.write(text.encode())
        told = {"file": str(out), "entries": len(entries)}
        answer(invocation, told, lambda: note(f"Wrote {len(entries)} entries to {out}."), name="file")
    _warn(found, entries)


@openapi_group.command("list")
@click.argument("spec", type=FILE)
@click.argument("words", nargs=-1)
@reading_options
@without_instance
def list_operations(
    invocation: Invocation,
    spec: Path,
    words: tuple[str, ...],
    base_path: str | None,
    privileges_from: str,
    only: tuple[str, ...],
) -> None:
    """List the operations of SPEC that mention all WORDS; method and URL are the rule that opens one."""
    from scopegate.core.picking import mentions, words_of  # noqa: PLC0415 -- as above

    wanted = words_of(" ".join(words))
    shown = [
        operation_object(operation)
        for operation in described(spec, base_path, privileges_from, only).operations
        if mentions(
            wanted,
            (
                *(operation.method, operation.url, operation.template, operation.operation_id),
                *(operation.summary, *operation.privileges),
            ),
        )
    ]
    if not shown:
        note("There is no such operation.")
    answer(invocation, shown, lambda: _print_operations(invocation, shown), name="url")


def operation_object(operation: Operation) -> JsonObject:
    """An operation as it is printed for programs."""
    return {
        "method": operation.method,
        "url": operation.url,
        "template": operation.template,
        "operation_id": operation.operation_id,
        "summary": operation.summary,
        "privileges": sorted(operation.privileges),
        "remarks": list(operation.remarks),
    }


def _entry_object(entry: DraftedEntry) -> JsonObject:
    endpoint, overlap = entry.endpoint, entry.overlap
    return {
        "methods": sorted(endpoint.methods),
        "url": endpoint.url,
        "privileges": sorted(endpoint.privileges),
        "summary": endpoint.summary,
        "operations": [operation_object(operation) for operation in entry.operations],
        "needs_as_well": [] if overlap is None else sorted(overlap.privileges),
        "matched_too_by": [] if overlap is None else list(overlap.labels),
    }


def _print_operations(invocation: Invocation, shown: list[JsonObject]) -> None:
    if not shown:
        return
    more = ("OPERATION",) if invocation.wants_wide else ()
    print_table(
        ("METHOD", "URL", *more, "PRIVILEGES", "SUMMARY"),
        [
            (
                one["method"],
                one["url"],
                *((one["operation_id"] or "-",) if more else ()),
                ", ".join(one["privileges"]) or "-",
                one["summary"] or "-",
            )
            for one in shown
        ],
    )


def _warn(found: ApiDescription, entries: tuple[DraftedEntry, ...]) -> None:
    """Tell what has to be looked at."""
    from scopegate.core.catalogue import Catalogue  # noqa: PLC0415 -- as above
    from scopegate.core.errors import InvalidInput  # noqa: PLC0415

    for text in found.notes:
        note(text)
    open_to_all = sum(entry.is_open for entry in entries)
    if open_to_all:
        note(f"{open_to_all} of {len(entries)} entries are open to every active user: check them.")
    overlapped = sum(entry.overlap is not None for entry in entries)
    if overlapped:
        note(f"{overlapped} of {len(entries)} entries need more than the document says: see the comments.")
    try:
        Catalogue(entry.endpoint for entry in entries)
    except InvalidInput:
        note("These are more entries than one catalogue can hold: leave some out, with --only.")
