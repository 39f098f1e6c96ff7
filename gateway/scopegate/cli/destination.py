"""Where a command goes: over the network to a control plane, or to a store that can be opened here."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from scopegate.cli.contexts import load_contexts
from scopegate.core.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scopegate.cli.contexts import Context, Contexts
    from scopegate.cli.invocation import Invocation

SERVER = "SCOPEGATE_SERVER"
CONTEXT = "SCOPEGATE_CONTEXT"
TENANT = "SCOPEGATE_TENANT"
TOKEN = "SCOPEGATE_TOKEN"  # noqa: S105 -- a variable's name
# Whoever sets one of these means a store.
_OF_STORES = ("SCOPEGATE_REDIS_URL", "SCOPEGATE_DATA_DIR", "SCOPEGATE_CONFIG")
_SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class Destination:
    """A control plane. ``tenant`` is what a profile says of it; ``token`` what was found for it."""

    server: str
    token: str | None = field(default=None, repr=False)
    tenant: str | None = None


def find_destination(
    asked: Invocation, environ: Mapping[str, str], contexts: Callable[[], Contexts] = load_contexts
) -> Destination | None:
    """The control plane that is meant, or None where a store is.

    A flag comes before the environment, and that before the current context. A token belongs to its
    server: that of a context is sent to no other one.

    Raises:
        UsageError: two places are named, or one that is none.
        NotFound: there is no such context.
    """
    places = [
        flag
        for flag, value in (
            ("--server", asked.server),
            ("--context", asked.context),
            ("--data-dir", asked.data_dir),
            ("--redis-url", asked.redis_url),
        )
        if value is not None
    ]
    if len(places) > 1 and not set(places) <= {"--data-dir", "--redis-url"}:
        raise click.UsageError(f"{' and '.join(places)} name two places: give one.")
    if places:
        return _named(asked.server, asked.context, "--server", contexts)
    server, context = environ.get(SERVER), environ.get(CONTEXT)
    if server or context:
        return _named(server or None, context, SERVER, contexts)
    if any(environ.get(name) for name in _OF_STORES):
        return None
    known = contexts()
    return None if known.current is None else _of_context(known.named(known.current))


def find_token(asked: Invocation, environ: Mapping[str, str], destination: Destination) -> str | None:
    """The token for a destination: one that is given, or that of its context.

    Raises:
        UsageError: there is none on stdin.
    """
    return given_token(asked, environ) or destination.token


def given_token(asked: Invocation, environ: Mapping[str, str]) -> str | None:
    """The token that is given with the command: on stdin if that was asked for, or in the environment.

    Raises:
        UsageError: there is none on stdin.
    """
    if asked.token_stdin:
        token = sys.stdin.readline().strip()
        if not token:
            raise click.UsageError("There is no token on stdin.")
        return token
    return environ.get(TOKEN) or None


def require_safe(server: str, *, insecure: bool) -> None:
    """Refuse to send a token where others could read it on its way.

    Raises:
        UsageError: the server is another machine, and the connection would not be encrypted.
    """
    if urlsplit(server).scheme == "https" or insecure or is_loopback(server):
        return
    raise click.UsageError(
        f"{server} is not encrypted: whoever is on the way could read the token. "
        "Use https, or pass --insecure-http."
    )


def parse_server(text: str, where: str) -> str:
    """The URL of a control plane as it is kept: without a slash at its end.

    Raises:
        UsageError: it is none, or has a password in it.
    """
    try:
        parts = urlsplit(text)
        valid = parts.scheme in _SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
        parts = urlsplit("")
    if not valid or "@" in parts.netloc or parts.query or parts.fragment or not text.isprintable():
        raise click.UsageError(f"{where}: that is not the URL of a control plane, such as https://host:8081.")
    return text.rstrip("/")


def _named(
    server: str | None, context: str | None, where: str, contexts: Callable[[], Contexts]
) -> Destination | None:
    if server is not None:
        return _of_server(server, where, contexts())
    return None if context is None else _of_context(contexts().named(context))


def _of_server(text: str, where: str, contexts: Contexts) -> Destination:
    server = parse_server(text, where)
    known = contexts.of_server(server)
    return Destination(server) if known is None else _of_context(known)


def _of_context(context: Context) -> Destination:
    return Destination(context.server, context.token, context.tenant)
