"""A typed client of the administration API.

with Client("http://127.0.0.1:8081", token=...) as scopegate:
issued = scopegate.create_key(KeyCreation(type="external", description="Reporting tool"))
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote

import httpx
import pydantic

from scopegate.admin import schemas
from scopegate.core.errors import ScopegateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["ApiError", "Client", "ServerUnreachable", "schemas"]

T = TypeVar("T", bound=pydantic.BaseModel)

TIMEOUT = 30.0  # seconds
_BASE = "/admin/v1"


class ApiError(ScopegateError):
    """A refusal of the API. ``status`` is the HTTP status; ``problem`` the whole RFC 9457 document."""

    def __init__(self, problem: schemas.ProblemDetails) -> None:
        super().__init__(problem.detail, hint=problem.hint, code=problem.code)
        self.status = problem.status
        self.problem = problem


class ServerUnreachable(ScopegateError):
    """The control plane did not answer, or not as one. Whether a change was made is not known."""

    code = "server_unreachable"


class Client:
    """The administration API of one control plane, for one tenant.

    Args:
        server: the URL of the control plane.
        token: a token of an administrator.
        tenant: whose keys and users are meant.
        reason: why changes are made; it goes to the audit log.
        timeout: seconds for one request.
        transport: in place of the network.
    """

    def __init__(
        self,
        server: str,
        *,
        token: str | None = None,
        tenant: str = "default",
        reason: str | None = None,
        timeout: float = TIMEOUT,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if reason is not None:
            headers["X-Scopegate-Reason"] = quote(reason)
        self.server = server
        self.tenant = tenant
        self._http = httpx.Client(base_url=server, headers=headers, timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # Keys

    def keys(self, **filters: Any) -> Iterator[schemas.Key]:  # noqa: ANN401 -- those of `schemas.KeyQuery`
        """All keys that the filters of `schemas.KeyQuery` admit."""
        cursor = None
        while True:
            page = self._get(
                schemas.KeyPage, "/keys", {"limit": schemas.LARGEST_PAGE, **filters, "cursor": cursor}
            )
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def key(self, key_id: str) -> schemas.Key:
        """The key with this id, or with one that alone begins like this."""
        return self._get(schemas.Key, f"/keys/{_part(key_id)}")

    def create_key(self, creation: schemas.KeyCreation, *, dry_run: bool = False) -> schemas.IssuedKey:
        """A new key, and its secret."""
        return self._post(schemas.IssuedKey, "/keys", creation, dry_run=dry_run)

    # Requests

    def _get(self, kind: type[T], path: str, query: dict[str, Any] | None = None) -> T:
        return _read(kind, self._send("GET", path, query or {}))

    def _post(self, kind: type[T], path: str, body: pydantic.BaseModel | None, *, dry_run: bool = False) -> T:
        return _read(kind, self._change("POST", path, body, dry_run=dry_run))

    def _change(
        self,
        method: str,
        path: str,
        body: pydantic.BaseModel | None,
        *,
        dry_run: bool = False,
        etag: str | None = None,
    ) -> httpx.Response:
        headers = {} if etag is None else {"If-Match": etag}
        # What was left out is not sent: null means something else.
        content = None if body is None else body.model_dump_json(exclude_unset=True)
        if content is not None:
            headers["Content-Type"] = "application/json"
        query = {"dry_run": "true"} if dry_run else {}
        return self._send(method, path, query, content=content, headers=headers)

    def _send(self, method: str, path: str, query: dict[str, Any], **options: Any) -> httpx.Response:  # noqa: ANN401
        params = {name: _parameter(value) for name, value in query.items() if value not in (None, [], ())}
        try:
            response = self._http.request(
                method, _BASE + path, params={"tenant": self.tenant, **params}, **options
            )
        except httpx.TransportError as error:
            raise ServerUnreachable(
                f"The control plane at {self.server} does not answer.",
                hint="Check its address, and that it runs.",
            ) from error
        if not response.is_success:
            raise ApiError(_problem(response, self.server))
        return response


def _part(text: str) -> str:
    return quote(text, safe="")


def _parameter(value: Any) -> Any:  # noqa: ANN401 -- what httpx takes
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value


def _read(kind: type[T], response: httpx.Response) -> T:
    try:
        return kind.model_validate_json(response.content)
    except pydantic.ValidationError as error:
        raise ServerUnreachable(
            "The control plane answered with something else than was asked for.",
            hint="Use the command line of the version of the control plane.",
        ) from error


def _problem(response: httpx.Response, server: str) -> schemas.ProblemDetails:
    try:
        return schemas.ProblemDetails.model_validate_json(response.content)
    except pydantic.ValidationError as error:
        raise ServerUnreachable(
            f"{server} answered {response.status_code}, and not as a control plane does.",
            hint="Check its address: it is that of --admin-listen.",
        ) from error
