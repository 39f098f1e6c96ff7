"""Scopegate: an API-key authorization gateway, as a proxy, a sidecar, ASGI middleware, or behind a proxy.

The public names are imported when they are first used, so ``import scopegate`` itself loads
neither Redis nor a server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scopegate.core.decision import Decision
    from scopegate.core.limits import Limits
    from scopegate.core.reasons import Reason
    from scopegate.forwardauth import ForwardAuth
    from scopegate.middleware import AuthorizationMiddleware
    from scopegate.privileges.cedar import CedarPrivileges
    from scopegate.privileges.http import HttpPrivileges
    from scopegate.proxy import ReverseProxy
    from scopegate.settings import Settings
    from scopegate.store.location import RedisOptions

__all__ = [
    "AuthorizationMiddleware",
    "CedarPrivileges",
    "Decision",
    "ForwardAuth",
    "HttpPrivileges",
    "Limits",
    "Reason",
    "RedisOptions",
    "ReverseProxy",
    "Settings",
]

_HOMES = {
    "AuthorizationMiddleware": "scopegate.middleware",
    "CedarPrivileges": "scopegate.privileges.cedar",
    "Decision": "scopegate.core.decision",
    "ForwardAuth": "scopegate.forwardauth",
    "HttpPrivileges": "scopegate.privileges.http",
    "Limits": "scopegate.core.limits",
    "Reason": "scopegate.core.reasons",
    "RedisOptions": "scopegate.store.location",
    "ReverseProxy": "scopegate.proxy",
    "Settings": "scopegate.settings",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
