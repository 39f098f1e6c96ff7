"""Answers of the gateway itself, as RFC 9457 problem details over ASGI."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of refusal or failure, as a client sees it.

    ``code`` is the stable slug that programs match on; ``detail`` is for people and never holds
    anything that the client sent. ``headers`` go out with the answer (``WWW-Authenticate``,
    ``Retry-After``).
    """

    status: int
    code: str
    title: str
    detail: str
    headers: Headers = ()


def problem_json(problem: Problem, request_id: str) -> dict[str, object]:
    """The members of the problem document (RFC 9457 section 3.1) with our stable ``code``."""
    return {
        "type": f"urn:scopegate:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": f"urn:uuid:{request_id}",
        "code": problem.code,
    }


async def send_problem(
    send: Callable[[Mapping[str, Any]], Awaitable[None]], problem: Problem, request_id: str
) -> None:
    """Answer an ASGI ``http`` request with `problem`; the response is complete afterwards."""
    body = json.dumps(problem_json(problem, request_id)).encode()
    await send(
        {
            "type": "http.response.start",
            "status": problem.status,
            "headers": [
                (b"content-type", b"application/problem+json"),
                (b"content-length", b"%d" % len(body)),
                (b"cache-control", b"no-store"),
                (b"x-request-id", request_id.encode("ascii")),
                *problem.headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
