"""``scopegate key rules``: what a custom key opens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.keyanswer import if_match_option, print_changed
from scopegate.cli.keyreference import find_key
from scopegate.cli.options import changes_through_api, through_api
from scopegate.cli.output import confirm, note, print_table
from scopegate.cli.verbs import Group
from scopegate.core.errors import InvalidInput, NotFound
from scopegate.core.keys import KeyType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scopegate.cli.invocation import Invocation
    from scopegate.client import schemas


def rule_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How the rules of a key are typed."""
    allow = click.option(
        "--allow",
        "allowed",
        metavar="'METHOD URL'",
        multiple=True,
        help="A method and a URL, such as 'GET /api/*'; * is a wildcard. Repeatable.",
    )
    url = click.option("--url", "urls", multiple=True, help="The same in two: a URL. Repeatable.")
    method = click.option(
        "--method", "methods", multiple=True, help="The method for each --url, in the same order."
    )
    return allow(url(method(command)))


@click.group("rules", cls=Group)
def rules_group() -> None:
    """Look at what a custom key opens, and change it."""


@rules_group.command("list")
@click.argument("key_id", metavar="ID")
@through_api
def list_rules(invocation: Invocation, key_id: str) -> None:
    """List the rules of a key, row by row."""
    with invocation.client() as client:
        key = find_key(client, key_id)
    rows: list[JsonObject] = [
        {"row": row, "method": rule.method, "url": rule.url} for row, rule in enumerate(key.rules, start=1)
    ]
    answer(invocation, rows, lambda: _print_rows(key, rows), name="row")


@rules_group.command("add")
@click.argument("key_id", metavar="ID")
@rule_options
@if_match_option
@changes_through_api
def add(
    invocation: Invocation,
    key_id: str,
    allowed: tuple[str, ...],
    urls: tuple[str, ...],
    methods: tuple[str, ...],
    etag: str | None,
) -> None:
    """Have a custom key open more; the next request sees it."""
    body = _rules_body(allowed, urls, methods)
    with invocation.client() as client:
        changed = client.add_rules(find_key(client, key_id).id, body, etag=etag)
    print_changed(invocation, changed)


@rules_group.command("set")
@click.argument("key_id", metavar="ID")
@rule_options
@if_match_option
@changes_through_api
def set_rules(
    invocation: Invocation,
    key_id: str,
    allowed: tuple[str, ...],
    urls: tuple[str, ...],
    methods: tuple[str, ...],
    etag: str | None,
) -> None:
    """Have a custom key open this and nothing else; the next request sees it."""
    body = _rules_body(allowed, urls, methods)
    with invocation.client() as client:
        changed = client.set_rules(find_key(client, key_id).id, body, etag=etag)
    print_changed(invocation, changed)


@rules_group.command("remove")
@click.argument("key_id", metavar="ID")
@click.option("--row", "rows", type=int, multiple=True, help="A row, as 'rules list' counts. Repeatable.")
@rule_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask before the last rule goes.")
@if_match_option
@changes_through_api
def remove(
    invocation: Invocation,
    key_id: str,
    rows: tuple[int, ...],
    allowed: tuple[str, ...],
    urls: tuple[str, ...],
    methods: tuple[str, ...],
    etag: str | None,
    *,
    yes: bool,
) -> None:
    """Have a custom key open less; the next request sees it. Without any rule it opens nothing."""
    named = rules_of(allowed, urls, methods)
    if not named and not rows:
        raise click.UsageError("Name a rule: with --row, with --allow, or with --url and --method.")
    from scopegate.cli.bodies import body  # noqa: PLC0415 -- --help does without the client's parts
    from scopegate.client import schemas  # noqa: PLC0415

    with invocation.client() as client:
        key = find_key(client, key_id)
        # A row is what it is now: somebody else may remove one before it.
        removed = list(dict.fromkeys([*(_rule_in_row(key, row) for row in rows), *map(_pair, named)]))
        last = bool(key.rules) and {(rule.method, rule.url) for rule in key.rules} <= set(removed)
        if last and not yes and not invocation.dry_run:
            confirm(f"Remove all rules of {key.id} ({key.description}), so that it opens nothing?")
        removal = body(
            schemas.RulesRemoval,
            rules=[{"method": method, "url": url} for method, url in removed],
            even_the_last=yes or last,
        )
        changed = client.remove_rules(key.id, removal, etag=etag)
    print_changed(invocation, changed)
    if not changed.rules:
        note(_opens_nothing(changed))


def rules_of(allowed: Sequence[str], urls: Sequence[str], methods: Sequence[str]) -> list[dict[str, str]]:
    """The rules that --allow, and pairs of --url and --method, spell.

    Raises:
        InvalidInput: one lacks a part.
    """
    if len(urls) != len(methods):
        raise InvalidInput(
            "method",
            f"There are {len(urls)} --url and {len(methods)} --method.",
            hint="Give each --url its --method, in the same order.",
        )
    pairs = [*map(_allowed, allowed), *zip(methods, urls, strict=True)]
    return [{"method": method, "url": url} for method, url in pairs]


def _allowed(text: str) -> tuple[str, str]:
    method, _, url = text.strip().partition(" ")
    if not url:
        raise InvalidInput(
            "allow", f"{text!r} is not a method and a URL.", hint="Write them as one: --allow 'GET /api/*'"
        )
    return method, url.strip()


def _rules_body(allowed: Sequence[str], urls: Sequence[str], methods: Sequence[str]) -> schemas.RulesBody:
    rules = rules_of(allowed, urls, methods)
    if not rules:
        raise click.UsageError("Name a rule: with --allow, or with --url and --method.")
    from scopegate.cli.bodies import body  # noqa: PLC0415 -- --help does without the client's parts
    from scopegate.client import schemas  # noqa: PLC0415

    return body(schemas.RulesBody, rules=rules)


def _pair(rule: dict[str, str]) -> tuple[str, str]:
    return rule["method"], rule["url"]


def _rule_in_row(key: schemas.Key, row: int) -> tuple[str, str]:
    if key.type != KeyType.CUSTOM:
        raise InvalidInput(
            "rules", f"A key of type {key.type} has no URL rules.", code="rules_only_for_custom"
        )
    if not 1 <= row <= len(key.rules):
        raise NotFound(
            f"The key {key.id} has no row {row}; it has {len(key.rules)}.",
            hint=f"See its rules with: scopegate key rules list {key.id}",
        )
    rule = key.rules[row - 1]
    return rule.method, rule.url


def _print_rows(key: schemas.Key, rows: list[JsonObject]) -> None:
    if rows:
        print_table(("ROW", "METHOD", "URL"), [(str(one["row"]), one["method"], one["url"]) for one in rows])
    elif key.type == KeyType.CUSTOM:
        note(_opens_nothing(key))
    else:
        note(f"A key of type {key.type} has no URL rules: it opens every URL.")


def _opens_nothing(key: schemas.Key) -> str:
    return f"{key.id} has no rules, so it opens nothing. Add one with: scopegate key rules add {key.id}"
