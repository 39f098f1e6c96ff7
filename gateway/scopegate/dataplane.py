"""The composition of a data-plane worker: settings in, a worker out."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from scopegate.app import create_privileges, create_routes
from scopegate.enforcer import Enforcer
from scopegate.proxy.upstream import upstreams
from scopegate.server.gateway import Gateway
from scopegate.server.worker import Worker
from scopegate.session import StoreSession

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scopegate.metrics import WorkerMetrics
    from scopegate.settings import Settings


@asynccontextmanager
async def opened_worker(settings: Settings, metrics: WorkerMetrics) -> AsyncIterator[Worker]:
    """A worker of the running loop, with its store open and its connections closed in the end.

    Raises:
        ConfigurationError: a setting cannot be used.
        StoreUnavailable: the embedded store does not start.
    """
    session = StoreSession(
        redis=settings.redis,
        data_dir=settings.data_dir if settings.redis_url is None else None,
        max_staleness=settings.max_staleness,
        canary_interval=settings.canary_interval,
        max_lag=settings.max_lag,
        usage_interval=settings.usage_interval,
        metrics=metrics.store,
        privileges=create_privileges(settings),
        privilege_metrics=metrics.privileges,
    )
    routes = upstreams(create_routes(settings))
    enforcer = Enforcer(
        key_prefix=settings.key_prefix,
        key_header=settings.key_header.lower().encode("ascii"),
        pepper=settings.pepper_bytes,
        limits=settings.limits,
        failure_limit=settings.failed_auth_limit,
    )
    gateway = Gateway(enforcer, session, routes, trusted=settings.trusted_proxies, metrics=metrics)
    await session.open()
    try:
        yield Worker(
            gateway,
            metrics,
            max_connections=settings.max_connections,
            head_timeout=settings.client_head_timeout,
            idle_timeout=settings.client_idle_timeout,
        )
    finally:
        for route in routes.routes:
            await route.target.aclose()
        await session.aclose()
