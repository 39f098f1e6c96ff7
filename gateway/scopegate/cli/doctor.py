"""``scopegate doctor``: whether this command line and its control plane can work together."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

import click

from scopegate.cli.answers import answer
from scopegate.cli.destination import find_token, require_safe
from scopegate.cli.options import through_api
from scopegate.cli.output import Exit, print_table
from scopegate.core.errors import ScopegateError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scopegate.cli.invocation import Invocation
    from scopegate.client import Client

_LARGEST_SKEW = 5.0  # seconds; expiries are to be understood the same on both sides


class Finding(NamedTuple):
    """One thing that was looked at."""

    check: str
    ok: bool
    detail: str


@click.command("doctor")
@through_api
def doctor(invocation: Invocation) -> int:
    """Check that the control plane answers, its clock, versions, your token and the flag.

    Ends with 0 if all is well and with 1 if something is not.
    """
    findings = list(_findings(invocation))
    answer(
        invocation,
        [one._asdict() for one in findings],
        lambda: print_table(
            ("CHECK", "OK", "WHAT"), [(one.check, "yes" if one.ok else "NO", one.detail) for one in findings]
        ),
        name="check",
    )
    return Exit.OK if all(one.ok for one in findings) else Exit.NEGATIVE


def _findings(invocation: Invocation) -> Iterator[Finding]:
    destination = invocation.destination
    if destination is None:
        try:
            with invocation.client() as client:
                yield _access(client)
                yield _flag(client)
        except ScopegateError as error:
            yield Finding("store", ok=False, detail=error.message)
        return
    from scopegate.client import Client  # noqa: PLC0415 -- --help does without it

    try:
        with Client(destination.server) as client:
            described = client.described()
    except ScopegateError as error:
        yield Finding("reach", ok=False, detail=error.message)
        return
    yield Finding("reach", ok=True, detail=f"{destination.server} answers")
    yield _clock(described.clock, datetime.now(UTC))
    ours = version("scopegate")
    yield Finding("version", described.version == ours, f"server {described.version}, command line {ours}")
    token = find_token(invocation, os.environ, destination)
    if token is None:
        yield Finding("token", ok=False, detail=f"none: scopegate login --server {destination.server}")
        return
    require_safe(destination.server, insecure=invocation.insecure_http)
    with Client(destination.server, token=token, tenant=invocation.tenant_meant) as client:
        for look in (_access, _flag):
            try:
                yield look(client)
            except ScopegateError as error:
                yield Finding(look.__name__.removeprefix("_"), ok=False, detail=error.message)
                return


def _clock(theirs: datetime | None, ours: datetime) -> Finding:
    if theirs is None:
        return Finding("clock", ok=True, detail="the server does not tell the time")
    # The header has whole seconds.
    skew = (theirs - ours.replace(microsecond=0)).total_seconds()
    detail = "as here" if abs(skew) <= 1 else f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} here"
    return Finding("clock", abs(skew) <= _LARGEST_SKEW, detail)


def _access(client: Client) -> Finding:
    identity = client.whoami()
    name = identity.actor if identity.administrator is None else identity.administrator.name
    detail = f"{name}, {identity.role.value.replace('_', ' ')}"
    if identity.token is not None:
        detail += f", token valid until {identity.token.expires_at:%Y-%m-%dT%H:%M:%SZ}"
    return Finding("access", ok=True, detail=detail)


def _flag(client: Client) -> Finding:
    flag = client.scoped_api()
    return Finding("flag", ok=True, detail=f"scoped-api is {'on' if flag.on else 'off'}")
