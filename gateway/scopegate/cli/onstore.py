"""Commands on a store that can be opened here: no token is asked for."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from scopegate import settings as configuration
from scopegate.cli.invocation import ORIGIN
from scopegate.commands import Commands
from scopegate.core.audit import SYSTEM
from scopegate.core.tenants import DEFAULT_TENANT
from scopegate.store import Store
from scopegate.store.embedded import EmbeddedStore, is_running, socket_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from scopegate.cli.invocation import Invocation
    from scopegate.client import Client
    from scopegate.core.audit import Author
    from scopegate.settings import Settings
    from scopegate.store.location import Location

T = TypeVar("T")


@contextmanager
def client(invocation: Invocation) -> Iterator[Client]:
    """A client of the administration API, which runs in this process over the store that is meant."""
    # Commands that do not go through the API do without all of this.
    from scopegate.admin.local import local_api  # noqa: PLC0415
    from scopegate.admin.visit import Office  # noqa: PLC0415
    from scopegate.app import create_sourced_access  # noqa: PLC0415
    from scopegate.cli.inprocess import InProcess  # noqa: PLC0415
    from scopegate.client import Client  # noqa: PLC0415

    settings = configuration.load(redis_url=invocation.redis_url, data_dir=invocation.data_dir)
    with _place_of_store(settings) as where, asyncio.Runner() as runner:
        store = Store.at(where, audit_retention=settings.audit_retention)
        office = Office(
            store,
            key_prefix=settings.key_prefix,
            pepper=settings.pepper_bytes,
            privileges=create_sourced_access(settings, store),
        )
        app = local_api(office, actor=invocation.author.actor, origin=ORIGIN)
        try:
            with Client(
                "http://local",
                tenant=invocation.tenant_meant,
                reason=invocation.reason,
                dry_run=invocation.dry_run,
                transport=InProcess(app, runner),
            ) as made:
                yield made
        finally:
            runner.run(office.aclose())


async def operate(
    action: Callable[[Commands], Awaitable[T]],
    where: Location | str,
    settings: Settings,
    author: Author = SYSTEM,
    tenant: str = DEFAULT_TENANT.id,
) -> T:
    """Run one operation on a tenant of the store at a location or URL."""
    from scopegate.app import create_sourced_access  # noqa: PLC0415

    store = Store.at(where, author=author, audit_retention=settings.audit_retention)
    access = create_sourced_access(settings, store)
    try:
        of_tenant = store.of(await store.system.tenants.get(tenant))
        if access is not None:
            access.introduce(of_tenant.tenant.tag, of_tenant.tenant.id)
        commands = Commands(
            of_tenant, key_prefix=settings.key_prefix, pepper=settings.pepper_bytes, access=access
        )
        return await action(commands)
    finally:
        if access is not None:
            await access.aclose()
        await store.aclose()


@contextmanager
def _place_of_store(settings: Settings) -> Iterator[Location | str]:
    redis = settings.redis
    if redis is not None:
        yield redis
    elif is_running(settings.data_dir):
        yield socket_url(settings.data_dir)
    else:
        # Nobody serves from this directory now: the command starts its store for itself.
        with EmbeddedStore(settings.data_dir) as embedded:
            yield embedded.url
