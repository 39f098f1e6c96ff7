"""``scopegate token``: what administrators' programs sign in with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.moments import NEVER, parse_expiry
from scopegate.cli.options import changes_system_through_api, system_through_api
from scopegate.cli.output import note, print_fields, print_table
from scopegate.cli.secretplace import secret_file_option, secret_place
from scopegate.cli.verbs import Group
from scopegate.core.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

    from scopegate.cli.invocation import Invocation

TOKEN_MEMBERS = (
    *("id", "kind", "administrator", "description", "created_at", "expires_at", "last_used_at", "secret"),
)
_whose = click.option(
    "--administrator", "administrator_id", metavar="ID", help="Of this administrator; otherwise your own."
)


@click.group("token", cls=Group)
def token_group() -> None:
    """Look at tokens of administrators, create and revoke them."""


@token_group.command("list")
@_whose
@system_through_api
def list_tokens(invocation: Invocation, administrator_id: str | None) -> None:
    """List tokens and sessions, the oldest first."""
    with invocation.client() as client:
        shown = [one.model_dump(mode="json") for one in client.tokens(administrator_id)]
    if not shown:
        note("There are no tokens.")

    def print_rows() -> None:
        if shown:
            print_table(
                ("ID", "KIND", "EXPIRES", "LAST USED", "DESCRIPTION"),
                [
                    (
                        one["id"],
                        one["kind"],
                        one["expires_at"],
                        one["last_used_at"] or NEVER,
                        one["description"],
                    )
                    for one in shown
                ],
            )

    answer(invocation, shown, print_rows, name="id")


@token_group.command("create")
@click.option("--description", required=True, help="What the token is for.")
@click.option("--expires", help="RFC 3339 with offset, or a period such as 30d; at most 366d, otherwise 90d.")
@_whose
@secret_file_option
@changes_system_through_api
def create(
    invocation: Invocation,
    description: str,
    expires: str | None,
    administrator_id: str | None,
    secret_file: Path | None,
) -> None:
    """Create a token. Its text is shown this once."""
    if expires == NEVER:
        raise InvalidInput("expires", "A token expires.", hint="Choose at most 366d.")
    expiry = {} if expires is None else {"expires_at": parse_expiry(expires, datetime.now(UTC))}
    with secret_place(invocation, secret_file, TOKEN_MEMBERS) as write_secret:
        from scopegate.cli.bodies import body  # noqa: PLC0415 -- --help does without the client's parts
        from scopegate.client import schemas  # noqa: PLC0415

        whose = {} if administrator_id is None else {"administrator": administrator_id}
        creation = body(schemas.TokenCreation, description=description, **expiry, **whose)
        with invocation.client() as client:
            issued = client.create_token(creation)
        write_secret(issued.secret)
    shown = {**issued.model_dump(mode="json"), "secret": None if secret_file else issued.secret}
    answer(invocation, shown, lambda: print_fields(_fields(shown)), name="id")
    if secret_file is not None:
        note(f"The token is in {secret_file}.")
    elif not invocation.wants_data:
        note("Copy the token now. You will not be able to see it again.")


@token_group.command("revoke")
@click.argument("token_id", metavar="ID")
@changes_system_through_api
def revoke(invocation: Invocation, token_id: str) -> None:
    """Revoke a token or a session, and the sessions that were opened with it."""
    with invocation.client() as client:
        client.revoke_token(token_id)
    answer(invocation, {"id": token_id, "revoked": True}, lambda: note(f"Revoked {token_id}."), name="id")


def _fields(shown: JsonObject) -> list[tuple[str, str]]:
    fields = [
        ("id", shown["id"]),
        ("description", shown["description"]),
        ("administrator", shown["administrator"]),
        ("expires", shown["expires_at"]),
    ]
    if shown["secret"] is not None:
        fields.append(("secret", shown["secret"]))
    return fields
