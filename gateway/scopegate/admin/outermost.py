"""Around the whole administration API: a request id, a bound on bodies, and an answer to whatever fails."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from scopegate.admin.problems import FAILED, TOO_LARGE, problem_of
from scopegate.core.errors import ScopegateError
from scopegate.problems import send_problem
from scopegate.requestid import new_request_id

if TYPE_CHECKING:
    from scopegate.asgi import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("scopegate")

LARGEST_BODY = 4 * 1024 * 1024  # bytes
REQUEST_ID = "scopegate.request_id"  # in the ASGI scope


class Outermost:
    """Gives each request of `app` an id, and answers what it raises. Nothing may be cached."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ``http`` scope."""
        request_id = new_request_id()
        scope[REQUEST_ID] = request_id
        begun = complete = False
        read = 0

        async def receive_bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > LARGEST_BODY:
                # Of what fails while a body is read, the API passes on this alone as it is.
                raise HTTPException(TOO_LARGE.status)
            return message

        async def send_marked(message: Message) -> None:
            nonlocal begun, complete
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            if message["type"] == "http.response.start":
                begun = True
                headers = list(message.get("headers", ()))
                names = {name for name, _ in headers}
                headers += [
                    (name, value)
                    for name, value in (
                        (b"x-request-id", request_id.encode("ascii")),
                        (b"cache-control", b"no-store"),
                        (b"x-content-type-options", b"nosniff"),
                    )
                    if name not in names
                ]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive_bounded, send_marked)
        except Exception as error:
            if not isinstance(error, ScopegateError):
                log.exception("an administrator's request failed (request id %s)", request_id)
            if not begun:
                problem, members = problem_of(error) if isinstance(error, ScopegateError) else (FAILED, {})
                await send_problem(send, problem, request_id, extensions=members)
            elif not complete:
                raise
