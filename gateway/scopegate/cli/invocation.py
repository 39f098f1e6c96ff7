"""One run of the command line: which instance is meant, and in which form the answer is wanted."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from scopegate.cli.answers import FOR_PROGRAMS, Form
from scopegate.cli.author import operator
from scopegate.cli.destination import TENANT, find_destination, find_token, require_safe
from scopegate.cli.output import NotSignedIn, note
from scopegate.core.audit import Author
from scopegate.core.tenants import DEFAULT_TENANT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scopegate.cli.destination import Destination
    from scopegate.client import Client

T = TypeVar("T")

ORIGIN = "cli"


@dataclass
class Invocation:
    """What the options say that all commands have."""

    output: str = Form.TABLE
    field: str | None = None
    server: str | None = None
    context: str | None = None
    redis_url: str | None = None
    data_dir: Path | None = None
    tenant: str | None = None
    token_stdin: bool = False
    insecure_http: bool = False
    reason: str | None = None
    dry_run: bool = False

    @property
    def wants_data(self) -> bool:
        """Whether a program reads the answers."""
        return self.output in FOR_PROGRAMS

    @property
    def wants_wide(self) -> bool:
        """Whether the table is to have all of its columns."""
        return self.output == Form.WIDE

    @property
    def author(self) -> Author:
        """Who makes the changes of this run, where a store is opened."""
        return Author(operator(), ORIGIN, self.reason)

    @cached_property
    def destination(self) -> Destination | None:
        """The control plane that is meant, or None where a store is."""
        return find_destination(self, os.environ)

    @property
    def is_remote(self) -> bool:
        """Whether the command goes to a control plane over the network."""
        return self.destination is not None

    @property
    def tenant_meant(self) -> str:
        """Whose keys and users are meant."""
        profile = None if self.destination is None else self.destination.tenant
        return self.tenant or os.environ.get(TENANT) or profile or DEFAULT_TENANT.id

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client of the control plane that is meant, or of one in this process over the store."""
        if self.destination is None:
            from scopegate.cli import onstore  # noqa: PLC0415 -- it brings Redis and a server's parts along

            with onstore.client(self) as client:
                yield client
        else:
            with self._remote_client(self.destination) as client:
                yield client
        if self.dry_run:
            note("Nothing was changed: this was a rehearsal.")

    def _remote_client(self, destination: Destination) -> Client:
        from scopegate.client import Client  # noqa: PLC0415 -- --help does without it

        token = find_token(self, os.environ, destination)
        if token is None:
            raise NotSignedIn(
                f"You are not signed in to {destination.server}.",
                hint=f"Sign in with: scopegate login --server {destination.server}",
            )
        require_safe(destination.server, insecure=self.insecure_http)
        return Client(
            destination.server,
            token=token,
            tenant=self.tenant_meant,
            reason=self.reason,
            dry_run=self.dry_run,
        )
