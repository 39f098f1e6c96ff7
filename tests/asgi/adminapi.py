"""The administration API over a real store, called in this process."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from redis.asyncio import Redis

from scopegate import policyfiles
from scopegate.admin.entrance import Entrance
from scopegate.admin.local import local_api
from scopegate.admin.plane import guarded_api, scim_api
from scopegate.admin.sessioncookie import SessionCookie
from scopegate.admin.signin import identified, identified_by_token
from scopegate.admin.visit import Office
from scopegate.administration import Authentication
from scopegate.commands import Commands
from scopegate.enforcer import utc_now
from scopegate.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from datetime import datetime, timedelta

    from scopegate.asgi import ASGIApp
    from scopegate.core.principal import User

PUBLIC = "http://admin.test"
BASE = f"{PUBLIC}/admin/v1"
SCIM = f"{PUBLIC}/scim/v2"
ORIGIN = "192.0.2.7"
POLICIES = Path(__file__).parents[2] / "policies"


class Clock:
    """Stands still until it is put on."""

    def __init__(self) -> None:
        self._now = utc_now().replace(microsecond=0)

    def __call__(self) -> datetime:
        return self._now

    def put_on(self, by: timedelta) -> None:
        self._now += by

    def after(self, by: timedelta) -> str:
        """The moment that far from now, as the API writes it."""
        return f"{self._now + by:%Y-%m-%dT%H:%M:%SZ}"


class ControlPlane:
    """The API over one store, for callers of all kinds; `clients` owns what they call it with."""

    def __init__(self, url: str, clients: AsyncExitStack) -> None:
        self.clock = Clock()
        self.store = Store.at(url)
        self._office = Office(self.store, key_prefix="sg", pepper=None, clock=self.clock)
        self._clients = clients

    @cached_property
    def _remote(self) -> ASGIApp:
        authentication = Authentication(self.store, clock=self.clock)
        entrance = Entrance(authentication, SessionCookie(PUBLIC))
        return guarded_api(identified(self._office, entrance), entrance)

    @cached_property
    def _scim(self) -> ASGIApp:
        authentication = Authentication(self.store, clock=self.clock)
        return scim_api(identified_by_token(self._office, authentication), PUBLIC)

    @cached_property
    def _local(self) -> ASGIApp:
        return local_api(self._office, actor="cli:eva@ops", origin="cli")

    async def local(self) -> httpx.AsyncClient:
        """A client in the name of ``cli:eva@ops``, who works on the machine itself."""
        return await self._client(self._local)

    async def remote(self, token: str | None = None, origin: str = ORIGIN) -> httpx.AsyncClient:
        """A client at `origin` that sends a token, or none."""
        client = await self._client(self._remote, origin)
        if token is not None:
            client.headers["Authorization"] = f"Bearer {token}"
        return client

    async def signed_in(
        self, role: str, tenants: list[str] | None = None, email: str | None = None
    ) -> httpx.AsyncClient:
        """A client in the name of a new administrator."""
        return await self.remote(await self.token(role, tenants, email))

    async def provisioner(self, tenant: str = "default") -> httpx.AsyncClient:
        """A client of SCIM in the name of a new provisioner of a tenant."""
        return await self.scim(await self.token("provisioner", [tenant], f"scim@{tenant}.example"))

    async def scim(self, token: str | None) -> httpx.AsyncClient:
        """A client of SCIM that sends a token, or none."""
        client = await self._client(self._scim, base=SCIM)
        if token is not None:
            client.headers["Authorization"] = f"Bearer {token}"
        return client

    async def token(self, role: str, tenants: list[str] | None = None, email: str | None = None) -> str:
        """A token of a new administrator."""
        api = await self.local()
        made = await api.post(
            "/administrators",
            json={"name": role, "email": email or f"{role}@example.com", "role": role, "tenants": tenants},
        )
        assert made.status_code == 201, made.text
        issued = await api.post("/tokens", json={"description": "Test", "administrator": made.json()["id"]})
        secret: str = issued.json()["secret"]
        return secret

    async def fill(self, policies: Path, users: Iterable[User]) -> None:
        """Put policies into force for the default tenant, and let users be known."""
        commands = Commands(self.store)
        await commands.apply_policies(policyfiles.load(policies).policies)
        await commands.put_users(list(users))

    async def _client(self, app: ASGIApp, origin: str = ORIGIN, base: str = BASE) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, client=(origin, 50_000))
        return await self._clients.enter_async_context(httpx.AsyncClient(transport=transport, base_url=base))


@asynccontextmanager
async def control_plane(url: str) -> AsyncIterator[ControlPlane]:
    """The API over the store at `url`."""
    async with AsyncExitStack() as clients:
        plane = ControlPlane(url, clients)
        try:
            yield plane
        finally:
            await plane.store.aclose()


@asynccontextmanager
async def local_client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API over the store at `url`, in the name of ``cli:eva@ops``."""
    async with control_plane(url) as plane:
        yield await plane.local()


async def create(api: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """A new key: external, unless `fields` say otherwise."""
    answer = await api.post("/keys", json={"type": "external", "description": "A key", **fields})
    assert answer.status_code == 201, answer.text
    key: dict[str, Any] = answer.json()
    return key


async def create_custom(api: httpx.AsyncClient, *urls: str, **fields: Any) -> dict[str, Any]:
    """A new custom key that may GET `urls`; Scoped API is turned on for it."""
    (await api.put("/flags/scoped-api", json={"on": True})).raise_for_status()
    return await create(api, type="custom", rules=[{"method": "GET", "url": url} for url in urls], **fields)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """The status and the code of a refusal, which has the form of one."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    said = answer.json()
    assert said["status"] == answer.status_code
    assert said["detail"]
    return answer.status_code, said["code"]


def pointers(answer: httpx.Response) -> list[str]:
    """The places of a request that are at fault."""
    return [one["pointer"] for one in answer.json()["errors"]]


async def kept(url: str) -> dict[bytes, Any]:
    """All that the store at `url` holds, by name."""
    async with Redis.from_url(url) as client:
        reading: dict[Any, Any] = {
            b"string": client.get,
            b"hash": client.hgetall,
            b"list": lambda name: client.lrange(name, 0, -1),
            b"set": client.smembers,
            b"zset": lambda name: client.zrange(name, 0, -1, withscores=True),
        }
        names: list[Any] = await client.keys("*")
        return {name: await reading[await client.type(name)](name) for name in names}
