"""``scopegate key usage`` and ``quota``: what keys are used for, and how many there may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.keyreference import find_key
from scopegate.cli.options import through_api
from scopegate.cli.output import note, print_fields, print_table

if TYPE_CHECKING:
    from datetime import datetime

    from scopegate.cli.invocation import Invocation

_day = click.DateTime(formats=["%Y-%m-%d"])


@click.command("usage")
@click.argument("key_id", metavar="ID")
@click.option(
    "--first", type=_day, metavar="YYYY-MM-DD", help="The first day (UTC); otherwise 29 days before."
)
@click.option("--last", type=_day, metavar="YYYY-MM-DD", help="The last day (UTC); otherwise today.")
@click.option("--by", type=click.Choice(["day", "hour"]), default="day", show_default=True)
@through_api
def usage(
    invocation: Invocation, key_id: str, first: datetime | None, last: datetime | None, by: str
) -> None:
    """Tell what came of the requests with a key: by day or hour, by rule and by reason."""
    with invocation.client() as client:
        found = client.key_usage(
            find_key(client, key_id).id,
            first=None if first is None else first.date(),
            last=None if last is None else last.date(),
            by=by,
        )
    shown = found.model_dump(mode="json")
    answer(invocation, shown, lambda: _print_usage(shown))


@click.command("quota")
@through_api
def quota(invocation: Invocation) -> None:
    """Tell how many of the keys that the tenant may have there are, and what they are."""
    with invocation.client() as client:
        shown = client.quota().model_dump(mode="json")
    answer(
        invocation,
        shown,
        lambda: print_fields(
            [
                ("used", f"{shown['used']} of {shown['limit']}"),
                ("left", str(shown["left"])),
                ("by state", _counts(shown["by_state"])),
                ("by type", _counts(shown["by_type"])),
                ("expired, can be deleted now", str(shown["reclaimable"])),
                ("never expiring", str(shown["never_expiring"])),
            ]
        ),
    )


def _print_usage(shown: JsonObject) -> None:
    since = shown["counted_since"]
    note("Nothing is counted yet." if since is None else f"Counted since {since}, at most a minute late.")
    print_table(
        ("SINCE", "ALLOWED", "REFUSED", "WHY"),
        [
            (one["start"], str(one["allowed"]), str(one["refused"]), _counts(one["reasons"]))
            for one in shown["spans"]
            if one["allowed"] or one["refused"]
        ]
        + [("all", str(shown["allowed"]), str(shown["refused"]), _counts(shown["reasons"]))],
    )
    if shown["rules"]:
        print_table(
            ("RULE", "ALLOWED"),
            [
                (
                    "-" if one["rule"] is None else f"{one['rule']['method']} {one['rule']['url']}",
                    str(one["allowed"]),
                )
                for one in shown["rules"]
            ],
        )


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "-"
