"""How commands answer with a key, and where its secret goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.moments import NEVER
from scopegate.cli.output import note, print_fields

if TYPE_CHECKING:
    from pathlib import Path

    from scopegate.cli.invocation import Invocation
    from scopegate.client import schemas

ALL_USERS = "all"
_SAID_ON_STDERR = {"warnings", "secret_status"}

# The members of the answer that has a key's secret, in their order.
KEY_MEMBERS = (
    *("id", "type", "state", "description", "user", "created_at", "expires_at", "delete_at"),
    *("retiring_until", "rules", "secret"),
)

if_match_option = click.option(
    "--if-match",
    "etag",
    metavar="ETAG",
    help="Only if this is still the version of the key, as 'show' tells it.",
)


def key_object(key: schemas.Key) -> JsonObject:
    """A key as it is printed for programs."""
    return key.model_dump(mode="json", exclude=_SAID_ON_STDERR)


def last_use(known: JsonObject) -> str:
    """What is known of a last use, and no more than that."""
    match known["known"]:
        case "used":
            return str(known["at"])
        case "not_since":
            return f"not since {known['at']}"
        case "nothing":
            return "unknown"
        case _:
            return "never"


def print_key(invocation: Invocation, key: schemas.Key, *, etag: str | None = None) -> None:
    """Answer with one key; `etag` is its version, where that is known."""
    shown = key_object(key) | ({} if etag is None else {"etag": etag})
    answer(invocation, shown, lambda: print_fields(_fields(shown)), name="id")


def print_changed(invocation: Invocation, key: schemas.ChangedKey) -> None:
    """Answer with a key that was changed, and say what is to be said of that."""
    _warn(key)
    print_key(invocation, key)


def print_issued(invocation: Invocation, key: schemas.IssuedKey, secret_file: Path | None) -> None:
    """Answer with a key and its secret, which is shown this once, or not at all if it is in a file."""
    _warn(key)
    shown = {**key_object(key), "secret": None if secret_file is not None else key.secret}
    answer(invocation, shown, lambda: print_fields(_fields(shown)), name="id")
    if key.secret is None:
        if key.secret_status == "already_shown":  # noqa: S105 -- no secret
            note("This was done before with the same idempotency key; the secret was shown then.")
    elif secret_file is not None:
        note(f"The secret is in {secret_file}.")
    elif not invocation.wants_data:
        note("Copy the secret now. You will not be able to see it again.")


def _warn(key: schemas.ChangedKey) -> None:
    for warning in key.warnings:
        note(f"warning: {warning}")


def _fields(key: JsonObject) -> list[tuple[str, str]]:
    fields = [
        ("id", key["id"]),
        ("type", key["type"]),
        ("state", key["state"]),
        ("description", key["description"]),
        ("user", key["user"] or ALL_USERS),
        ("created", key["created_at"]),
        ("expires", key["expires_at"] or NEVER),
    ]
    if key["delete_at"] is not None:
        fields.append(("deleted", key["delete_at"]))
    if "last_used" in key:
        fields.append(("last used", last_use(key["last_used"])))
    if key["retiring_until"] is not None:
        fields.append(("old secret", f"valid until {key['retiring_until']}{_old_use(key)}"))
    fields.extend(
        (f"rule {row}", f"{rule['method']} {rule['url']}") for row, rule in enumerate(key["rules"], start=1)
    )
    if key.get("secret") is not None:
        fields.append(("secret", key["secret"]))
    return fields


def _old_use(key: JsonObject) -> str:
    old = [secret for secret in key.get("secrets", ()) if secret["status"] == "retiring"]
    return f", last used {last_use(old[0]['last_used'])}" if old else ""
