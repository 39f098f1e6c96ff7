"""Around each API of the control plane: a request id, a turn, bounds, and an answer to whatever fails."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from scopegate.admin.line import Line
from scopegate.admin.problems import FAILED, TOO_LARGE, problem_of
from scopegate.core.errors import ScopegateError
from scopegate.problems import problem_fields
from scopegate.requestid import new_request_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scopegate.admin.line import Turn
    from scopegate.asgi import ASGIApp, Message, Receive, Scope, Send
    from scopegate.core.headers import Field

log = logging.getLogger("scopegate")

LARGEST_BODY = 4 * 1024 * 1024  # bytes
REQUEST_ID = "scopegate.request_id"  # in the ASGI scope


def _as_problem(error: Exception, request_id: str) -> tuple[int, list[Field], bytes]:
    problem, members = problem_of(error) if isinstance(error, ScopegateError) else (FAILED, {})
    return problem.status, *problem_fields(problem, request_id, members)


class Outermost:
    """Gives each request of `app` an id, and its turn in `line`; answers what it raises.

    Nothing may be cached.

    Args:
        app: what answers.
        line: where its requests wait.
        told: the status, the fields and the body of the answer to what was raised, and the request id.
    """

    def __init__(
        self,
        app: ASGIApp,
        line: Line | None = None,
        told: Callable[[Exception, str], tuple[int, list[Field], bytes]] = _as_problem,
    ) -> None:
        self._app = app
        self._line = line or Line()
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ``http`` scope."""
        request_id = new_request_id()
        scope[REQUEST_ID] = request_id
        begun = complete = has_all = False
        read = 0

        async def receive_bounded(turn: Turn) -> Message:
            nonlocal read, has_all
            # Who has sent all may be asked whether it is still there, and that is no reason to wait.
            message = await receive() if has_all else await turn.without(receive())
            has_all = not message.get("more_body", False)
            read += len(message.get("body", b""))
            if read > LARGEST_BODY:
                # Of what fails while a body is read, the API passes on this alone as it is.
                raise HTTPException(TOO_LARGE.status)
            return message

        async def send_marked(turn: Turn, message: Message) -> None:
            nonlocal begun, complete
            more = bool(message.get("more_body", False))
            complete = message["type"] == "http.response.body" and not more
            if message["type"] == "http.response.start":
                begun = True
                message = {**message, "headers": _marked(message.get("headers", ()), request_id)}
            await (turn.without(send(message)) if more else send(message))

        try:
            async with self._line.turn() as turn:
                await self._app(scope, partial(receive_bounded, turn), partial(send_marked, turn))
        except Exception as error:
            if not isinstance(error, ScopegateError):
                log.exception("an administrator's request failed (request id %s)", request_id)
            if not begun:
                status, fields, body = self._told(error, request_id)
                fields = _marked(fields, request_id)
                await send({"type": "http.response.start", "status": status, "headers": fields})
                await send({"type": "http.response.body", "body": body})
            elif not complete:
                raise


def _marked(fields: Iterable[Field], request_id: str) -> list[Field]:
    """The fields of an answer, with those that each has."""
    present = list(fields)
    names = {name for name, _ in present}
    ours = (
        (b"x-request-id", request_id.encode("ascii")),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    )
    return [*present, *(field for field in ours if field[0] not in names)]
