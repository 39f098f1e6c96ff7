"""``scopegate login``, ``logout``, ``whoami`` and ``context``: which servers one works with, and as whom."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.contexts import Context, load_contexts, save_contexts
from scopegate.cli.destination import SERVER, find_destination, given_token, parse_server, require_safe
from scopegate.cli.options import on_server, system_through_api, without_instance
from scopegate.cli.output import NotSignedIn, note, print_fields, print_line, print_table
from scopegate.cli.verbs import Group

if TYPE_CHECKING:
    from scopegate.cli.invocation import Invocation
    from scopegate.client import schemas

_NO_TOKEN = 401


@click.command("login")
@click.option("--name", "context_name", metavar="NAME", help="What to call the context; otherwise the host.")
@click.option("--default-tenant", metavar="ID", help="The tenant that is meant where none is named.")
@click.option("--oidc", is_flag=True, help="Sign in with the browser, by the server's OpenID Connect.")
@click.option(
    "--bootstrap", is_flag=True, help="Become the first administrator, with the token of the first start."
)
@click.option("--person", metavar="NAME", help="With --bootstrap: your name.")
@click.option("--email", help="With --bootstrap: your e-mail address.")
@on_server
def login(
    invocation: Invocation,
    context_name: str | None,
    default_tenant: str | None,
    person: str | None,
    email: str | None,
    *,
    oidc: bool,
    bootstrap: bool,
) -> None:
    """Keep a token for a control plane, and go there from now on.

    The token comes from a prompt, from stdin with --token-stdin, or from SCOPEGATE_TOKEN. It is tried, and
    kept in a file that only you can read.
    """
    server = _server(invocation)
    require_safe(server, insecure=invocation.insecure_http)
    if not bootstrap and (person or email):
        raise click.UsageError("--person and --email belong to --bootstrap.")
    if oidc and (bootstrap or invocation.token_stdin):
        raise click.UsageError("--oidc stands for a token: leave out --bootstrap and --token-stdin.")
    known = load_contexts()
    token = _token_by_browser(server) if oidc else _asked_token(invocation)
    if bootstrap:
        name, address = _asked(person, "Your name", "--person"), _asked(email, "Your e-mail", "--email")
        token = _first_token(server, token, name, address)
    context = Context(context_name or urlsplit(server).netloc, server, token, default_tenant)
    try:
        identity = _identity(server, token)
        save_contexts(known.kept(context))
    except BaseException:
        if bootstrap:
            note("You are the administrator, but your token could not be kept. It is shown this once:")
            print_line(token)
        raise
    shown = {**_shown(identity), "context": context.name, "server": server}
    answer(invocation, shown, lambda: _print_identity(shown))


@click.command("logout")
@on_server
def logout(invocation: Invocation) -> None:
    """Forget the token of a control plane. A session ends there as well; another token stays good."""
    destination = find_destination(invocation, os.environ)
    known = load_contexts()
    context = None if destination is None else known.of_server(destination.server)
    if context is None:
        raise NotSignedIn("You are signed in nowhere.", hint="See: scopegate context list")
    if context.token is not None:
        require_safe(context.server, insecure=invocation.insecure_http)
    ended = context.token is not None and _end_session(context.server, context.token)
    save_contexts(known.without(context.name))
    said = "and its session is over" if ended else "and its token stays good: scopegate token revoke ends one"
    answer(
        invocation,
        {"context": context.name, "server": context.server, "revoked": ended},
        lambda: note(f"Forgot {context.name}, {said}."),
    )


@click.command("whoami")
@system_through_api
def whoami(invocation: Invocation) -> None:
    """Tell who you are for the control plane, and what you may do."""
    with invocation.client() as client:
        identity = client.whoami()
    shown = _shown(identity)
    answer(invocation, shown, lambda: _print_identity(shown))


@click.group("context", cls=Group)
def context_group() -> None:
    """The control planes that 'login' keeps tokens for."""


@context_group.command("list")
@without_instance
def list_contexts(invocation: Invocation) -> None:
    """List the contexts; commands go to the current one unless told otherwise."""
    known = load_contexts()
    shown: list[JsonObject] = [
        {
            "name": one.name,
            "server": one.server,
            "tenant": one.tenant,
            "current": one.name == known.current,
            "signed_in": one.token is not None,
        }
        for one in known.entries.values()
    ]
    if not shown:
        note("There are no contexts. Make one with: scopegate login --server URL")

    def print_rows() -> None:
        if shown:
            print_table(
                ("CURRENT", "NAME", "SERVER", "TENANT"),
                [
                    ("*" if one["current"] else "", one["name"], one["server"], one["tenant"] or "-")
                    for one in shown
                ],
            )

    answer(invocation, shown, print_rows, name="name")


@context_group.command("use")
@click.argument("name")
@without_instance
def use_context(invocation: Invocation, name: str) -> None:
    """Go to this one from now on."""
    used = load_contexts().used(name)
    save_contexts(used)
    answer(
        invocation,
        {"name": name, "server": used.named(name).server, "current": True},
        lambda: note(f"Commands go to {used.named(name).server} now."),
        name="name",
    )


@context_group.command("delete")
@click.argument("name")
@without_instance
def delete_context(invocation: Invocation, name: str) -> None:
    """Forget a context and its token, without a word to the server; 'logout' ends a session as well."""
    save_contexts(load_contexts().without(name))
    answer(invocation, {"name": name, "deleted": True}, lambda: note(f"Forgot {name}."), name="name")


def _server(invocation: Invocation) -> str:
    destination = find_destination(invocation, os.environ)
    if destination is None:
        raise click.UsageError("Name the control plane: --server https://host:8081")
    return parse_server(destination.server, SERVER)


def _asked_token(invocation: Invocation) -> str:
    given = given_token(invocation, os.environ)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise click.UsageError("There is nobody to ask for the token: pass --token-stdin.")
    token: str = click.prompt("Token", hide_input=True, err=True)
    return token.strip()


def _token_by_browser(server: str) -> str:
    from scopegate.cli.browserlogin import sign_in_with_browser  # noqa: PLC0415 -- for whoever wants it

    return sign_in_with_browser(server)


def _asked(given: str | None, question: str, flag: str) -> str:
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise click.UsageError(f"There is nobody to ask: pass {flag}.")
    said: str = click.prompt(question, err=True)
    return said


def _first_token(server: str, bootstrap_token: str, name: str, email: str) -> str:
    from scopegate.cli.bodies import body  # noqa: PLC0415 -- --help does without the client's parts
    from scopegate.client import Client, schemas  # noqa: PLC0415

    with Client(server) as client:
        issued = client.bootstrap(body(schemas.Bootstrap, token=bootstrap_token, name=name, email=email))
    if issued.secret is None:
        raise AssertionError("only a rehearsal makes no token")
    return issued.secret


def _identity(server: str, token: str) -> schemas.Identity:
    from scopegate.client import Client  # noqa: PLC0415 -- as above

    with Client(server, token=token) as client:
        return client.whoami()


def _end_session(server: str, token: str) -> bool:
    """Whether the token was a session, which is over now."""
    from scopegate.client import ApiError, Client  # noqa: PLC0415 -- as above
    from scopegate.core.admintokens import TokenKind  # noqa: PLC0415

    try:
        with Client(server, token=token) as client:
            identity = client.whoami()
            if identity.token is None or identity.token.kind is not TokenKind.SESSION:
                return False
            client.revoke_token(identity.token.id)
    except ApiError as error:
        if error.status == _NO_TOKEN:
            return False  # it was over before
        raise
    return True


def _shown(identity: schemas.Identity) -> JsonObject:
    return identity.model_dump(mode="json")


def _print_identity(shown: JsonObject) -> None:
    administrator, token = shown["administrator"], shown["token"]
    fields = [("you are", shown["actor"] if administrator is None else administrator["name"])]
    if administrator is not None:
        fields += [("e-mail", administrator["email"]), ("id", administrator["id"])]
    fields += [
        ("role", shown["role"].replace("_", " ")),
        ("tenants", "all" if shown["tenants"] is None else ", ".join(shown["tenants"])),
    ]
    if token is not None:
        fields.append((token["kind"], f"{token['description']}, until {token['expires_at']}"))
    if "server" in shown:
        fields += [("server", shown["server"]), ("context", shown["context"])]
    print_fields(fields)
