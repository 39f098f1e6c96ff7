"""``scopegate drift``: which keys a new version of an API opens itself to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.openapi import FILE, described, operation_object, reading_options
from scopegate.cli.options import through_api
from scopegate.cli.output import Exit, note, print_line, print_table

if TYPE_CHECKING:
    from pathlib import Path

    from scopegate.admin.driftdocuments import ApiOperation
    from scopegate.cli.invocation import Invocation
    from scopegate.openapifiles import ApiDescription

_SENT = ("method", "url", "operation_id", "summary", "privileges")


@click.command("drift")
@click.option("--openapi", "spec", type=FILE, required=True, help="The API's new OpenAPI document.")
@click.option("--was", type=FILE, help="The document that it had.  [default: the catalogue in force]")
@reading_options
@through_api
def drift(
    invocation: Invocation,
    spec: Path,
    was: Path | None,
    base_path: str | None,
    privileges_from: str,
    only: tuple[str, ...],
) -> int:
    """Tell which keys begin to cover operations that an API adds, and whether they open them.

    Ends with 1 if some key opens more than before and with 0 if none does. Nothing is changed.
    """
    from scopegate.admin.driftdocuments import DriftRequest  # noqa: PLC0415 -- --help does without it
    from scopegate.cli.bodies import body  # noqa: PLC0415

    def operations(path: Path) -> list[ApiOperation]:
        return _operations(described(path, base_path, privileges_from, only))

    before = {} if was is None else {"before": operations(was)}
    request = body(DriftRequest, operations=operations(spec), **before)
    with invocation.client() as client:
        report = client.drift(request)
    shown = report.model_dump(mode="json")
    answer(invocation, shown, lambda: _print(shown))
    return Exit.NEGATIVE if report.grows else Exit.OK


def _operations(found: ApiDescription) -> list[ApiOperation]:
    from scopegate.admin.driftdocuments import ApiOperation  # noqa: PLC0415 -- as above

    objects = map(operation_object, found.operations)
    return [ApiOperation(**{name: one[name] for name in _SENT}) for one in objects]


def _print(shown: JsonObject) -> None:
    if shown["added"]:
        print_table(
            ("NEW OPERATION", "KEY", "TYPE", "USER", "BY ROW", "OPEN"),
            [row for one in shown["added"] for row in _rows(one)],
        )
    else:
        note("No operation is new.")
    for key in shown["unbounded_keys"] if shown["added"] else ():
        print_line(f"{_called(key)} is of type {key['type']} and of no user: it opens everything.")
    for one in shown["removed"]:
        print_line(f"Gone: {one['method']} {one['url']}")
    for idle in shown["idle_rules"]:
        rule = idle["rule"]
        print_line(
            f"{_called(idle['key'])}: row {idle['row']} ({rule['method']} {rule['url']}) covers no operation"
            " any more."
        )
    growing = [
        one
        for one in shown["added"]
        if shown["unbounded_keys"] or any(reach["opens"] != "none" for reach in one["keys"])
    ]
    note(
        f"{len(shown['added'])} new operations, {len(growing)} of them open to some key;"
        f" {len(shown['removed'])} gone."
    )


def _rows(one: JsonObject) -> list[tuple[str, ...]]:
    operation = f"{one['method']} {one['url']}"
    if not one["keys"]:
        return [(operation, "-", "-", "-", "-", "-")]
    return [
        (
            operation,
            _called(reach["key"]),
            reach["key"]["type"],
            reach["key"]["user"] or "-",
            ", ".join(map(str, reach["rows"])) or "-",
            _openness(reach),
        )
        for reach in one["keys"]
    ]


def _openness(reach: JsonObject) -> str:
    lacking = reach["missing_privileges"]
    why = f"lacks {', '.join(lacking)}" if lacking else reach["reason"]
    state = reach["key"]["state"]
    when = "" if state == "active" else f" (the key is {state})"
    match reach["opens"]:
        case "none":
            return f"no: {why}{when}"
        case "part":
            return f"in part: {why}{when}"
        case _:
            return f"yes{'' if reach['wholly'] else ', what the rules cover'}{when}"


def _called(key: JsonObject) -> str:
    return f"{key['id']} ({key['description']})"
