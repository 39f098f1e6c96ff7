"""The reverse proxy: an ASGI application that forwards every request to one upstream."""

from scopegate.proxy.app import ReverseProxy
from scopegate.proxy.timeouts import Timeouts

__all__ = ["ReverseProxy", "Timeouts"]
