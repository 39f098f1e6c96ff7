"""One request of an ASGI server that was let in, from its admission to its end."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from scopegate.core.reasons import Reason
from scopegate.problems import POLICY_VIOLATION, Problem, refusal, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from scopegate.admissions import Admissions
    from scopegate.asgi import ASGIApp, Message, Receive, Scope, Send
    from scopegate.core.keys import KeyRecord
    from scopegate.enforcer import Verdict

log = logging.getLogger("scopegate")


class AnswerCutOff(Exception):
    """A key or a user lost what an answer was given for, so the server has to cut it off.

    It tells the server what nothing else in ASGI tells: half an answer is out, and no more will come.
    """


class AsgiAdmission:
    """Runs an application for one request, as long as that is let in.

    Args:
        app: the application.
        receive: the server's.
        send: the server's.
        kind: ``http`` or ``websocket``.
        request_id: what a refusal of ours carries.
        judge: judges the request anew.
    """

    def __init__(
        self,
        app: ASGIApp,
        receive: Receive,
        send: Send,
        *,
        kind: str,
        request_id: str,
        judge: Callable[[], Coroutine[None, None, Verdict]],
    ) -> None:
        self._app = app
        self._receive = receive
        self._send = send
        self._request_id = request_id
        self._judge = judge
        self._admissions: Admissions | None = None
        self._task: asyncio.Task[None] | None = None
        self._problem: Problem | None = None
        self._kind = kind
        self._heard = False  # the application has heard what there is to hear first
        self._begun = False  # the answer's head is out, or the WebSocket's handshake
        self._over = False  # the answer is out, or the WebSocket is closed

    async def run(self, scope: Scope, admissions: Admissions, record: KeyRecord, *, doubtful: bool) -> None:
        """Serve `scope`, which the key of `record` lets in, until it is over or no longer let in.

        `doubtful`: what it was let in for may have changed meanwhile.

        Raises:
            AnswerCutOff: it is no longer let in, and half an answer is out.
        """
        task = asyncio.current_task()
        if task is None:  # a server may step through coroutines by itself, and offers no way to stop one
            await asyncio.create_task(self.run(scope, admissions, record, doubtful=doubtful))
            return
        self._admissions = admissions
        self._task = task
        admissions.follow(self, record)
        if doubtful:
            admissions.doubt(self)
        try:
            await self._app(scope, self.receive, self.send)
        except asyncio.CancelledError:
            if self._problem is None or task.cancelling() > 1:
                raise
        except Exception:
            if self._problem is None:
                raise
            log.debug("the application failed after its request was ended", exc_info=True)
        finally:
            self._task = None
            admissions.forget(self)
        if self._problem is None:
            return
        task.uncancel()
        if not self._over:
            await self._conclude(scope, self._problem)

    @property
    def running(self) -> bool:
        """Whether there is something to end."""
        return self._task is not None and self._problem is None and not self._over

    async def review(self, *, last: bool) -> bool:
        """As `admissions.Admitted.review`."""
        verdict = await self._judge()
        reason, record, *_ = verdict.decision
        if self._task is None or self._admissions is None or not self.running:
            return True
        if reason is Reason.ALLOWED and record is not None:
            self._admissions.follow(self, record)
            return True
        if reason is Reason.STORE_UNAVAILABLE and not last:
            return False
        self._problem = refusal(reason)
        self._task.cancel()
        return True

    async def receive(self) -> Message:
        """The application's `receive`."""
        if self._problem is not None:
            return {"type": f"{self._kind}.disconnect"}
        message = await self._receive()
        self._heard = True
        return message

    async def send(self, message: Message) -> None:
        """The application's `send`.

        Raises:
            OSError: the request is no longer let in (ASGI: that is how the end of a client is told).
        """
        if self._problem is not None:
            raise OSError("the request is no longer let in")
        kind = message["type"]
        if kind == "http.response.body":
            await self._send(message)
            self._over = not message.get("more_body", False)
            return
        self._begun = True
        await self._send(message)
        self._over = kind == "websocket.close"

    async def _conclude(self, scope: Scope, problem: Problem) -> None:
        """Tell the client that it is over, in the one way that is left for that."""
        if not self._begun:
            receive = _nothing_more if self._heard else self._receive
            await refuse(scope, receive, self._send, problem, self._request_id)
        elif self._kind == "http":
            raise AnswerCutOff(problem.code)
        else:
            with suppress(OSError):  # it has left meanwhile
                close = {"type": "websocket.close", "code": POLICY_VIOLATION, "reason": problem.code}
                await self._send(close)


async def _nothing_more() -> Message:
    return {"type": "websocket.connect"}
