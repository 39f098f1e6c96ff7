"""Serves httpbin at a port: ``python tests/e2e/serve_httpbin.py PORT``."""

from __future__ import annotations

import sys

import httpbin  # type: ignore[import-untyped]
from werkzeug.serving import WSGIRequestHandler, make_server


class Handler(WSGIRequestHandler):
    """Takes chunked bodies, which httpbin believes of servers with this name only."""

    protocol_version = "HTTP/1.1"
    server_version = "gunicorn/0 (werkzeug)"

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 -- as the base class has it
        """Say nothing."""


def main() -> None:
    """Serve until a signal ends the process."""
    port = int(sys.argv[1])
    make_server("127.0.0.1", port, httpbin.app, threaded=True, request_handler=Handler).serve_forever()


if __name__ == "__main__":
    main()
