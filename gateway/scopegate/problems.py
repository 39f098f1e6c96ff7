"""Answers of the gateway itself, as RFC 9457 problem details over ASGI."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scopegate.core.reasons import Check, Reason, refused_by

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scopegate.asgi import Receive, Scope, Send
    from scopegate.core.headers import Field

Headers = tuple[tuple[bytes, bytes], ...]

DENIAL = "websocket.http.response"  # the extension by which a handshake is answered in HTTP
POLICY_VIOLATION = 1008  # RFC 6455 section 7.4.1


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


def problem_fields(
    problem: Problem, request_id: str, extensions: Mapping[str, object] | None = None
) -> tuple[list[Field], bytes]:
    """The header fields and the body of an answer that is `problem`.

    `extensions` are further members of the document (RFC 9457 section 3.2).
    """
    body = json.dumps({**problem_json(problem, request_id), **(extensions or {})}).encode() + b"\n"
    fields = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-request-id", request_id.encode("ascii")),
        *problem.headers,
    ]
    return fields, body


async def send_problem(
    send: Send,
    problem: Problem,
    request_id: str,
    *,
    kind: str = "http.response",
    extensions: Mapping[str, object] | None = None,
) -> None:
    """Answer an ASGI request with `problem`; the response is complete afterwards.

    `kind` is ``websocket.http.response`` for a handshake, where the server offers that extension.
    """
    fields, body = problem_fields(problem, request_id, extensions)
    await send({"type": f"{kind}.start", "status": problem.status, "headers": fields})
    await send({"type": f"{kind}.body", "body": body})


async def refuse(scope: Scope, receive: Receive, send: Send, problem: Problem, request_id: str) -> None:
    """Answer a request or a WebSocket handshake with `problem`, as far as the server can say it."""
    if scope["type"] == "http":
        await send_problem(send, problem, request_id)
        return
    await receive()  # websocket.connect
    if DENIAL in scope.get("extensions", {}):
        await send_problem(send, problem, request_id, kind=DENIAL)
    else:
        # The server turns a close before the handshake into 403 (ASGI: websocket.close).
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": problem.code})


_UNREADABLE = "The request can be read in more than one way, so it was refused."
_CODE_FOR_ANY_WRONG_KEY = "key_invalid"


def _refusal(status: int, reason: Reason, title: str, detail: str) -> Problem:
    return Problem(status, reason.value, title, detail)


def _wrong_key(reason: Reason) -> Problem:
    # One answer for all of them: a caller must not learn which ids exist or existed.
    return replace(
        _refusal(
            401,
            reason,
            "The API key is not valid",
            "Check that the whole key was copied, or ask for a new one.",
        ),
        code=_CODE_FOR_ANY_WRONG_KEY,
    )


_REFUSALS = {
    Reason.KEY_MISSING: _refusal(
        401,
        Reason.KEY_MISSING,
        "An API key is needed",
        "Send the key in the X-API-Key header, or as Authorization: Bearer.",
    ),
    Reason.KEY_AMBIGUOUS: _refusal(
        401, Reason.KEY_AMBIGUOUS, "More than one API key", "Send one key, in one header."
    ),
    Reason.KEY_MALFORMED: _wrong_key(Reason.KEY_MALFORMED),
    Reason.KEY_UNKNOWN: _wrong_key(Reason.KEY_UNKNOWN),
    Reason.KEY_SECRET_WRONG: _wrong_key(Reason.KEY_SECRET_WRONG),
    Reason.KEY_DELETED: _wrong_key(Reason.KEY_DELETED),
    Reason.TOO_MANY_FAILURES: _refusal(
        429,
        Reason.TOO_MANY_FAILURES,
        "Too many API keys were not valid",
        "Too many requests from this address had a key that is not valid. Try again later.",
    ),
    Reason.KEY_EXPIRED: _refusal(
        401,
        Reason.KEY_EXPIRED,
        "The API key has expired",
        "Ask its administrator to extend it within seven days of its expiry, or for a new one.",
    ),
    Reason.KEY_DISABLED: _refusal(
        401, Reason.KEY_DISABLED, "The API key is disabled", "Ask its administrator to enable it."
    ),
    Reason.URL_NOT_ALLOWED: _refusal(
        403,
        Reason.URL_NOT_ALLOWED,
        "The API key does not open this URL",
        "No rule of the key matches the URL.",
    ),
    Reason.METHOD_NOT_ALLOWED: _refusal(
        403,
        Reason.METHOD_NOT_ALLOWED,
        "The API key does not allow this method here",
        "A rule of the key matches the URL, but for another method.",
    ),
    Reason.USER_UNKNOWN: _refusal(
        403,
        Reason.USER_UNKNOWN,
        "The user of the API key is not known",
        "The key is bound to a user who is gone.",
    ),
    Reason.USER_INACTIVE: _refusal(
        403,
        Reason.USER_INACTIVE,
        "The user of the API key is not active",
        "The key is bound to a deactivated user.",
    ),
    Reason.ENDPOINT_UNLISTED: _refusal(
        403,
        Reason.ENDPOINT_UNLISTED,
        "The endpoint is not in the catalogue",
        "A key that is bound to a user opens only endpoints that the catalogue lists.",
    ),
    Reason.PRIVILEGE_MISSING: _refusal(
        403,
        Reason.PRIVILEGE_MISSING,
        "The user of the API key may not do this",
        "The key is bound to a user who lacks a privilege that the endpoint requires.",
    ),
    Reason.FRAMING_MALFORMED: _refusal(
        400, Reason.FRAMING_MALFORMED, "The framing of the request body is not valid", _UNREADABLE
    ),
    Reason.TARGET_TOO_LONG: _refusal(
        414, Reason.TARGET_TOO_LONG, "The request target is too long", "Use a shorter path or query."
    ),
    Reason.HEAD_TOO_LARGE: _refusal(
        431, Reason.HEAD_TOO_LARGE, "The header fields are too large", "Send fewer or shorter header fields."
    ),
    Reason.BODY_TOO_LARGE: _refusal(
        413, Reason.BODY_TOO_LARGE, "The request body is too large", "Send less in one request."
    ),
    Reason.REQUEST_MALFORMED: _refusal(
        400, Reason.REQUEST_MALFORMED, "The request is not valid HTTP/1.1", _UNREADABLE
    ),
    Reason.HTTP_VERSION_UNSUPPORTED: _refusal(
        505,
        Reason.HTTP_VERSION_UNSUPPORTED,
        "The HTTP version is not supported",
        "Use HTTP/1.1.",
    ),
    Reason.METHOD_UNSUPPORTED: _refusal(
        400,
        Reason.METHOD_UNSUPPORTED,
        "The method is not supported",
        "Use a method of RFC 9110 or PATCH, in capitals.",
    ),
    Reason.HOST_MALFORMED: _refusal(400, Reason.HOST_MALFORMED, "The Host header is not valid", _UNREADABLE),
    Reason.QUERY_MALFORMED: _refusal(
        400, Reason.QUERY_MALFORMED, "The query has characters that a URL cannot hold", _UNREADABLE
    ),
    Reason.PATH_MALFORMED: _refusal(
        400, Reason.PATH_MALFORMED, "The request target is not a path", _UNREADABLE
    ),
    Reason.PATH_ILLEGAL_CHARACTER: _refusal(
        400,
        Reason.PATH_ILLEGAL_CHARACTER,
        "The path has a character that must be percent-encoded",
        _UNREADABLE,
    ),
    Reason.PATH_CONTROL_CHARACTER: _refusal(
        400, Reason.PATH_CONTROL_CHARACTER, "The path has a control character", _UNREADABLE
    ),
    Reason.PATH_BACKSLASH: _refusal(400, Reason.PATH_BACKSLASH, "The path has a backslash", _UNREADABLE),
    Reason.PATH_BROKEN_ESCAPE: _refusal(
        400, Reason.PATH_BROKEN_ESCAPE, "The path has a broken percent escape", _UNREADABLE
    ),
    Reason.PATH_ENCODED_SLASH: _refusal(
        400, Reason.PATH_ENCODED_SLASH, "The path has a percent-encoded slash", _UNREADABLE
    ),
    Reason.PATH_DOUBLE_ENCODED: _refusal(
        400, Reason.PATH_DOUBLE_ENCODED, "The path is percent-encoded twice", _UNREADABLE
    ),
    Reason.PATH_INVALID_UTF8: _refusal(
        400, Reason.PATH_INVALID_UTF8, "The path is not valid UTF-8", _UNREADABLE
    ),
    Reason.PATH_EMPTY_SEGMENT: _refusal(
        400, Reason.PATH_EMPTY_SEGMENT, "The path has an empty segment", _UNREADABLE
    ),
    Reason.PATH_DOT_SEGMENT: _refusal(
        400, Reason.PATH_DOT_SEGMENT, "The path has a dot segment", _UNREADABLE
    ),
    Reason.PROXY_UNTRUSTED: _refusal(
        403,
        Reason.PROXY_UNTRUSTED,
        "The asking proxy is not trusted",
        "Name its address in trusted_proxies (SCOPEGATE_TRUSTED_PROXIES).",
    ),
    Reason.ORIGINAL_MISSING: _refusal(
        400,
        Reason.ORIGINAL_MISSING,
        "The asking proxy does not say what it asks about",
        "It has to set the fields of its dialect, for method, target and host.",
    ),
    Reason.ORIGINAL_AMBIGUOUS: _refusal(
        400,
        Reason.ORIGINAL_AMBIGUOUS,
        "The header fields disagree about the original request",
        _UNREADABLE,
    ),
    Reason.STORE_UNAVAILABLE: Problem(
        503,
        Reason.STORE_UNAVAILABLE,
        "Access cannot be checked now",
        "The key store does not answer. Try again shortly.",
        ((b"retry-after", b"1"),),
    ),
    Reason.PRIVILEGES_UNAVAILABLE: Problem(
        503,
        Reason.PRIVILEGES_UNAVAILABLE,
        "The privileges of the user of the API key cannot be checked now",
        "What says what the user may do does not answer. Try again shortly.",
        ((b"retry-after", b"1"),),
    ),
    # The caller is told no more than of any other failure of ours.
    Reason.MATCHING_FAILED: _refusal(
        500, Reason.INTERNAL_ERROR, "The gateway failed", "Tell its operator the request id."
    ),
    Reason.INTERNAL_ERROR: _refusal(
        500, Reason.INTERNAL_ERROR, "The gateway failed", "Tell its operator the request id."
    ),
}


def refusal(reason: Reason, *, retry_after: int | None = None) -> Problem:
    """The answer to a request that was refused with `reason`, with the challenge that belongs to it.

    RFC 9110 section 11.6.1: a 401 carries ``WWW-Authenticate``. The error codes are those of
    RFC 6750 section 3.1, which wants none where no key was sent. `retry_after` is in how many seconds
    it is worth asking again.
    """
    problem = _ANSWERS[reason]
    if retry_after is None:
        return problem
    return replace(problem, headers=(*problem.headers, (b"retry-after", b"%d" % retry_after)))


def _with_challenge(reason: Reason, problem: Problem) -> Problem:
    check = refused_by(reason)
    if reason is Reason.TOO_MANY_FAILURES:
        return problem  # nothing is said of the key
    if reason is Reason.KEY_MISSING:
        challenge = 'Bearer realm="scopegate"'
    elif check in {Check.CREDENTIAL, Check.KEY}:
        challenge = f'Bearer realm="scopegate", error="invalid_token", error_description="{problem.title}"'
    elif check in {Check.SCOPE, Check.USER, Check.PRIVILEGES}:
        challenge = 'Bearer realm="scopegate", error="insufficient_scope"'
    else:
        return problem
    return replace(problem, headers=(*problem.headers, (b"www-authenticate", challenge.encode("ascii"))))


_ANSWERS = {reason: _with_challenge(reason, problem) for reason, problem in _REFUSALS.items()}
