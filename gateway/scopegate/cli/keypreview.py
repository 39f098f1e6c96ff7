"""``scopegate key preview``: what would become of a key, before there is one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.keyanswer import ALL_USERS
from scopegate.cli.keyrules import rule_options, rules_of
from scopegate.cli.moments import NEVER, parse_expiry
from scopegate.cli.options import through_api
from scopegate.cli.output import Exit, print_fields, print_table
from scopegate.core.keys import KeyType

if TYPE_CHECKING:
    from scopegate.cli.invocation import Invocation


@click.command("preview")
@click.option("--type", "key_type", type=click.Choice([kind.value for kind in KeyType]), required=True)
@click.option("--description", default="", help="What the key is for.")
@rule_options
@click.option("--user", default=ALL_USERS, show_default=True, help="The one user whom the key acts for.")
@click.option("--expires", help="As for 'key create'.")
@through_api
def preview(
    invocation: Invocation,
    key_type: str,
    description: str,
    allowed: tuple[str, ...],
    urls: tuple[str, ...],
    methods: tuple[str, ...],
    user: str,
    expires: str | None,
) -> int:
    """Tell all that is wrong with a key, how its rules are read, and what it would open; none is made.

    Ends with 0 if the key could be created and with 1 if not.
    """
    from scopegate.cli.bodies import body  # noqa: PLC0415 -- --help does without the client's parts
    from scopegate.client import schemas  # noqa: PLC0415

    expiry = {} if expires is None else {"expires_at": parse_expiry(expires, datetime.now(UTC))}
    draft = body(
        schemas.KeyDraft,
        type=KeyType(key_type),
        description=description,
        user=None if user == ALL_USERS else user,
        rules=rules_of(allowed, urls, methods),
        **expiry,
    )
    with invocation.client() as client:
        previewed = client.preview_key(draft)
    shown = previewed.model_dump(mode="json")
    answer(invocation, shown, lambda: _print(shown))
    return Exit.OK if previewed.creatable else Exit.NEGATIVE


def _print(shown: JsonObject) -> None:
    print_fields(
        [
            ("creatable", "yes" if shown["creatable"] else "NO"),
            *(("problem", one["detail"]) for one in shown["problems"]),
            *(("caution", one["detail"]) for one in shown["cautions"]),
            *(
                (f"rule {one['row']}", f"{one['method']} {one['url']}: {one['sentence']}")
                for one in shown["rules"]
            ),
            ("expires", shown["expires_at"] or NEVER),
            ("keys left", str(shown["left"])),
        ]
    )
    if shown["access"]:
        print_table(
            ("METHOD", "ENDPOINT", "BY ROW", "OPEN"),
            [
                (
                    one["method"],
                    one["url"],
                    "-" if one["row"] is None else str(one["row"]),
                    _access(one),
                )
                for one in shown["access"]
            ],
        )


def _access(one: JsonObject) -> str:
    if one["allowed"]:
        return "yes" if one["wholly"] else "in part"
    return f"no: lacks {', '.join(one['missing_privileges'])}" if one["missing_privileges"] else "no"
