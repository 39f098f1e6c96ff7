"""A typed client of the administration API.

``Client("https://gate.example", token=...).create_key(schemas.KeyCreation(...)).secret`` is a new key.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote

import httpx
import pydantic

from scopegate.admin import policydocuments, reviewdocuments, schemas
from scopegate.admin.driftdocuments import DriftReport, DriftRequest
from scopegate.admin.endpointdocuments import Endpoint, EndpointPage
from scopegate.clientdirectory import DirectoryCalls, part
from scopegate.core.errors import ScopegateError
from scopegate.core.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["ApiError", "Client", "ServerUnreachable", "policydocuments", "schemas"]

T = TypeVar("T", bound=pydantic.BaseModel)

TIMEOUT = 30.0  # seconds
ANY = "*"  # whatever version there is (RFC 9110 section 13.1.1)
_BASE = "/admin/v1"
_WRONG_ADDRESS = "Check its address: it is that of --admin-listen."
_SCOPED_API = "/flags/scoped-api"
# What belongs to a tenant; all else is about the system as a whole.
_OF_TENANTS = (
    *("/keys", "/quota", "/decisions", "/flags", "/audit"),
    *("/users", "/groups", "/roles", "/organizations"),
    *("/policies", "/endpoints", "/drift", "/findings", "/access"),
)
_NOTHING: tuple[Any, ...] = (None, [], ())


class ApiError(ScopegateError):
    """A refusal of the API. ``status`` is the HTTP status; ``problem`` the whole RFC 9457 document.

    ``request_id`` is what the server's operator can look the request up by.
    """

    def __init__(self, problem: schemas.ProblemDetails) -> None:
        super().__init__(problem.detail, hint=problem.hint, code=problem.code)
        self.status = problem.status
        self.problem = problem
        self.request_id = problem.instance.removeprefix("urn:uuid:")


class ServerUnreachable(ScopegateError):
    """The control plane did not answer, or not as one.

    ``maybe_done`` is whether a change may have been made all the same.
    """

    code = "server_unreachable"

    def __init__(self, message: str, *, hint: str, maybe_done: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.maybe_done = maybe_done


@dataclass(frozen=True, slots=True)
class Description:
    """What a control plane says of itself. ``clock`` is the moment when it answered, to the second."""

    version: str
    clock: datetime | None


class Client(DirectoryCalls):
    """The administration API of one control plane, for one tenant.

    Args:
        server: the URL of the control plane.
        token: a token of an administrator.
        tenant: whose keys and users are meant.
        reason: why changes are made; it goes to the audit log.
        dry_run: whether changes are only checked: the answers are what would be, and nothing is done.
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
        dry_run: bool = False,
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
        self.dry_run = dry_run
        self._http = httpx.Client(
            base_url=server,
            headers=headers,
            timeout=timeout,
            transport=transport,
            # A proxy of the environment is not on the way to this machine, and would see the token.
            trust_env=not is_loopback(server),
        )

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

    def keys(self, **filters: Any) -> Iterator[schemas.KeyDetails]:  # noqa: ANN401 -- those of `schemas.KeyQuery`
        """All keys that the filters of `schemas.KeyQuery` admit."""
        return self._pages(schemas.KeyPage, "/keys", filters)

    def key(self, key_id: str) -> schemas.KeyDetails:
        """The key with this id, or with one that alone begins like this."""
        return self.versioned_key(key_id)[0]

    def versioned_key(self, key_id: str) -> tuple[schemas.KeyDetails, str]:
        """The same, and the entity tag of its version, for a change of nothing else."""
        return self._versioned(schemas.KeyDetails, f"/keys/{part(key_id)}")

    def key_usage(self, key_id: str, **period: Any) -> schemas.KeyUsage:  # noqa: ANN401 -- `schemas.UsageQuery`
        """What came of the requests with a key."""
        return self._get(schemas.KeyUsage, f"/keys/{part(key_id)}/usage", period)

    def quota(self) -> schemas.Quota:
        """How many of the keys that the tenant may have there are."""
        return self._get(schemas.Quota, "/quota")

    def create_key(
        self, creation: schemas.KeyCreation, *, idempotency_key: str | None = None
    ) -> schemas.IssuedKey:
        """A new key, and its secret.

        A request whose answer is lost is sent once more, with the same idempotency key, which is made up
        if none is given: there is one key in the end, and no secret in the answer if the first one came.
        """
        return self._issue(schemas.IssuedKey, "/keys", creation, idempotency_key)

    def edit_key(self, key_id: str, edit: schemas.KeyEdit, *, etag: str | None = None) -> schemas.ChangedKey:
        """Other values for a key. With an `etag` only if that is its version; so with all that take one."""
        return self._changed("PATCH", f"/keys/{part(key_id)}", edit, etag=etag or ANY)

    def enable_key(self, key_id: str, *, etag: str | None = None) -> schemas.ChangedKey:
        """A key that was disabled is enabled."""
        return self._changed("POST", f"/keys/{part(key_id)}:enable", etag=etag)

    def disable_key(self, key_id: str, *, etag: str | None = None) -> schemas.ChangedKey:
        """A key is disabled at once."""
        return self._changed("POST", f"/keys/{part(key_id)}:disable", etag=etag)

    def extend_key(
        self, key_id: str, extension: schemas.Extension, *, etag: str | None = None
    ) -> schemas.ChangedKey:
        """Another expiry for a key."""
        return self._changed("POST", f"/keys/{part(key_id)}:extend", extension, etag=etag)

    def rotate_key(
        self, key_id: str, rotation: schemas.Rotation, *, etag: str | None = None
    ) -> schemas.IssuedKey:
        """Another secret for a key."""
        path = f"/keys/{part(key_id)}:rotate"
        return _read(schemas.IssuedKey, self._change("POST", path, rotation, etag=etag))

    def duplicate_key(
        self, key_id: str, duplication: schemas.Duplication, *, idempotency_key: str | None = None
    ) -> schemas.IssuedKey:
        """A new key like another one, and its secret. It is sent again as `create_key` is."""
        return self._issue(schemas.IssuedKey, f"/keys/{part(key_id)}:duplicate", duplication, idempotency_key)

    def delete_key(self, key_id: str, *, etag: str | None = None) -> None:
        """A key is deleted for good."""
        self._change("DELETE", f"/keys/{part(key_id)}", etag=etag)

    def set_rules(
        self, key_id: str, rules: schemas.RulesBody, *, etag: str | None = None
    ) -> schemas.ChangedKey:
        """Other rules for a custom key, in place of all that it has."""
        return self._changed("PUT", f"/keys/{part(key_id)}/rules", rules, etag=etag or ANY)

    def add_rules(
        self, key_id: str, rules: schemas.RulesBody, *, etag: str | None = None
    ) -> schemas.ChangedKey:
        """More rules for a custom key."""
        return self._changed("POST", f"/keys/{part(key_id)}/rules:add", rules, etag=etag)

    def remove_rules(
        self, key_id: str, removal: schemas.RulesRemoval, *, etag: str | None = None
    ) -> schemas.ChangedKey:
        """Fewer rules for a custom key."""
        return self._changed("POST", f"/keys/{part(key_id)}/rules:remove", removal, etag=etag)

    def preview_key(self, draft: schemas.KeyDraft) -> schemas.KeyPreview:
        """What would become of a draft; no key is made."""
        return _read(schemas.KeyPreview, self._send("POST", "/keys:preview", body=draft))

    def change_keys(self, change: schemas.BulkChange) -> schemas.BulkOutcomes:
        """The same change to many keys, each with its own outcome."""
        return _read(schemas.BulkOutcomes, self._change("POST", "/keys:bulk", change))

    def export_keys(self) -> schemas.KeyDocuments:
        """All keys as documents, without secrets."""
        return self._get(schemas.KeyDocuments, "/keys:export")

    def import_keys(self, documents: list[dict[str, Any]]) -> schemas.ImportOutcomes:
        """New keys from documents, each with its own outcome and secret."""
        body = schemas.KeyImport(keys=documents)
        return _read(schemas.ImportOutcomes, self._change("POST", "/keys:import", body))

    def explain(self, request: schemas.ExplanationRequest) -> schemas.Explanation:
        """Why a key opens a request, or not; nothing is sent to the API that is protected."""
        return _read(schemas.Explanation, self._send("POST", "/decisions:explain", body=request))

    # Endpoints

    def endpoints(self, **filters: Any) -> Iterator[Endpoint]:  # noqa: ANN401 -- those of `EndpointQuery`
        """All endpoints of the catalogue that the filters of `EndpointQuery` admit."""
        return self._pages(EndpointPage, "/endpoints", filters)

    def drift(self, request: DriftRequest) -> DriftReport:
        """What an API's new operations mean for the keys; nothing is changed."""
        return _read(DriftReport, self._send("POST", "/drift", body=request))

    # Policies

    def policies(self) -> tuple[policydocuments.TenantPolicies, str]:
        """All policies in force, and the entity tag of their version."""
        return self._versioned(policydocuments.TenantPolicies, "/policies")

    def replace_policies(
        self, policies: policydocuments.PoliciesBody, *, etag: str
    ) -> policydocuments.PolicyChanges:
        """Other policies in place of those of a version; what that changed."""
        return self._told(policydocuments.PolicyChanges, "PUT", "/policies", policies, etag=etag)

    # Flags

    def scoped_api(self) -> schemas.Flag:
        """Whether custom keys can be created and given rules."""
        return self._get(schemas.Flag, _SCOPED_API)

    def set_scoped_api(self, *, on: bool) -> schemas.Flag:
        """The same, turned on or off."""
        return _read(schemas.Flag, self._change("PUT", _SCOPED_API, schemas.FlagBody(on=on)))

    # Tenants

    def tenants(self) -> list[schemas.Tenant]:
        """All tenants that the caller may know of."""
        return self._get(schemas.TenantList, "/tenants").items

    def named_tenant(self, tenant_id: str) -> schemas.Tenant:
        """The tenant with this id."""
        return self._get(schemas.Tenant, _tenant(tenant_id))

    def create_tenant(self, creation: schemas.TenantCreation) -> schemas.Tenant:
        """A new tenant."""
        return _read(schemas.Tenant, self._change("POST", "/tenants", creation))

    def rename_tenant(self, tenant_id: str, naming: schemas.TenantNaming) -> schemas.Tenant:
        """A tenant is called otherwise."""
        return _read(schemas.Tenant, self._change("PATCH", _tenant(tenant_id), naming))

    def tenant_settings(self, tenant_id: str) -> schemas.TenantSettings:
        """What is settled for a tenant."""
        return self._get(schemas.TenantSettings, f"{_tenant(tenant_id)}/settings")

    def change_settings(self, tenant_id: str, settings: schemas.SettingsBody) -> schemas.TenantSettings:
        """The same, with other values for what is named."""
        path = f"{_tenant(tenant_id)}/settings"
        return _read(schemas.TenantSettings, self._change("PATCH", path, settings))

    # Administrators and their tokens

    def whoami(self) -> schemas.Identity:
        """Who the caller is, and what that one may do."""
        return self._get(schemas.Identity, "/whoami")

    def bootstrap(self, bootstrap: schemas.Bootstrap) -> schemas.IssuedToken:
        """The first system administrator, and a token of that one."""
        return _read(schemas.IssuedToken, self._change("POST", "/bootstrap", bootstrap))

    def has_provider(self) -> bool:
        """Whether administrators can sign in at an OpenID Connect provider."""
        return self._get(schemas.OidcStatus, "/oidc").configured

    def fetch_session(self, redemption: schemas.OidcRedemption) -> schemas.IssuedToken:
        """The session of whoever signed in at the provider for this command line."""
        return _read(schemas.IssuedToken, self._change("POST", "/oidc/token", redemption))

    def administrators(self) -> list[schemas.Administrator]:
        """All administrators."""
        return self._get(schemas.AdministratorList, "/administrators").items

    def administrator(self, administrator_id: str) -> schemas.Administrator:
        """The administrator with this id."""
        return self._get(schemas.Administrator, _administrator(administrator_id))

    def create_administrator(self, creation: schemas.AdministratorCreation) -> schemas.Administrator:
        """A new administrator, without a token."""
        return _read(schemas.Administrator, self._change("POST", "/administrators", creation))

    def edit_administrator(
        self, administrator_id: str, edit: schemas.AdministratorEdit
    ) -> schemas.Administrator:
        """Other facts of an administrator."""
        return _read(schemas.Administrator, self._change("PATCH", _administrator(administrator_id), edit))

    def delete_administrator(self, administrator_id: str) -> None:
        """An administrator goes, with all tokens."""
        self._change("DELETE", _administrator(administrator_id))

    def tokens(self, administrator_id: str | None = None) -> list[schemas.Token]:
        """The tokens and sessions of an administrator, or of the caller."""
        return self._get(schemas.TokenList, "/tokens", {"administrator": administrator_id}).items

    def create_token(self, creation: schemas.TokenCreation) -> schemas.IssuedToken:
        """A new token, and its text."""
        return _read(schemas.IssuedToken, self._change("POST", "/tokens", creation))

    def revoke_token(self, token_id: str) -> None:
        """A token is good no longer."""
        self._change("DELETE", f"/tokens/{part(token_id)}")

    # The server

    def described(self) -> Description:
        """Which version the server has, and what its clock says; no token is needed."""
        with _reaching(self.server):
            response = self._http.send(self._request("GET", "/openapi.json"))
        info = _mapping(self._admitted(response), self.server)
        date = response.headers.get("Date")
        return Description(
            version=str(info.get("info", {}).get("version", "")),
            clock=None if date is None else parsedate_to_datetime(date),
        )

    # The audit log

    def audit(self, *, page: int = schemas.LARGEST_PAGE, **filters: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
        """The entries that the filters of `schemas.AuditQuery` admit, newest first, `page` in a request."""
        return self._pages(schemas.AuditPage, "/audit", {"limit": page, **filters})

    def verify_audit(self) -> schemas.AuditVerification:
        """Whether the audit log is whole."""
        return self._get(schemas.AuditVerification, "/audit/verification")

    def export_audit(self) -> Iterator[bytes]:
        """All entries that are kept, oldest first, each without the end of its line."""
        rest = b""
        with self._stream("/audit/export") as response:
            for piece in response.iter_bytes():
                *lines, rest = (rest + piece).split(b"\n")
                yield from lines
        if rest:
            raise ServerUnreachable("The export broke off.", hint="Try again.")

    # The review of keys

    def key_findings(self, key_id: str, **compared: Any) -> list[reviewdocuments.Finding]:  # noqa: ANN401
        """What is to be said of a key, and of it beside others: see `reviewdocuments.KeyFindingsQuery`."""
        path = f"/keys/{part(key_id)}/findings"
        return self._get(reviewdocuments.FindingList, path, compared).items

    def findings(self, **filters: Any) -> Iterator[reviewdocuments.Finding]:  # noqa: ANN401 -- `FindingsQuery`
        """What is to be said of all keys, each by itself."""
        return self._pages(reviewdocuments.FindingPage, "/findings", filters)

    def access(self, method: str, url: str) -> Iterator[reviewdocuments.KeyAccess]:
        """The keys that let in something of an endpoint."""
        return self._pages(reviewdocuments.KeyAccessPage, "/access", {"method": method, "url": url})

    # Requests

    def _pages(self, kind: type[Any], path: str, query: dict[str, Any]) -> Iterator[Any]:
        cursor = None
        while True:
            page = self._get(kind, path, {"limit": schemas.LARGEST_PAGE, **query, "cursor": cursor})
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def _get(self, kind: type[T], path: str, query: dict[str, Any] | None = None) -> T:
        return _read(kind, self._send("GET", path, query))

    def _versioned(self, kind: type[T], path: str) -> tuple[T, str]:
        response = self._send("GET", path)
        return _read(kind, response), response.headers.get("ETag", "")

    def _told(
        self,
        kind: type[T],
        method: str,
        path: str,
        body: pydantic.BaseModel | None = None,
        *,
        etag: str | None = None,
    ) -> T:
        return _read(kind, self._change(method, path, body, etag=etag))

    def _changed(
        self, method: str, path: str, body: pydantic.BaseModel | None = None, *, etag: str | None = None
    ) -> schemas.ChangedKey:
        return self._told(schemas.ChangedKey, method, path, body, etag=etag)

    def _issue(self, kind: type[T], path: str, body: pydantic.BaseModel, idempotency_key: str | None) -> T:
        headers = {"Idempotency-Key": idempotency_key or secrets.token_urlsafe(24)}
        try:
            response = self._change("POST", path, body, headers=headers)
        except ServerUnreachable as error:
            if not error.maybe_done:
                raise
            response = self._change("POST", path, body, headers=headers)
        return _read(kind, response)

    def _change(
        self,
        method: str,
        path: str,
        body: pydantic.BaseModel | None = None,
        *,
        etag: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        conditions = {} if etag is None else {"If-Match": etag}
        query = {"dry_run": "true"} if self.dry_run else {}
        return self._send(method, path, query, body=body, headers={**conditions, **(headers or {})})

    def _send(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        *,
        body: pydantic.BaseModel | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        with _reaching(self.server):
            response = self._http.send(self._request(method, path, query, body=body, headers=headers))
        return self._admitted(response)

    @contextmanager
    def _stream(self, path: str) -> Iterator[httpx.Response]:
        with _reaching(self.server):
            response = self._http.send(self._request("GET", path), stream=True)
        try:
            with _reaching(self.server):
                if not response.is_success:
                    response.read()
                yield self._admitted(response)
        finally:
            response.close()

    def _request(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        *,
        body: pydantic.BaseModel | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Request:
        said = {name: _parameter(value) for name, value in (query or {}).items() if value not in _NOTHING}
        headers = dict(headers or {})
        content = None
        if body is not None:
            # What was left out is not sent: null means something else.
            content = body.model_dump_json(exclude_unset=True)
            headers["Content-Type"] = "application/json"
        of_tenant = {"tenant": self.tenant} if path.startswith(_OF_TENANTS) else {}
        return self._http.build_request(
            method, _BASE + path, params={**of_tenant, **said}, content=content, headers=headers
        )

    def _admitted(self, response: httpx.Response) -> httpx.Response:
        if not response.is_success:
            raise ApiError(_problem(response, self.server))
        return response


@contextmanager
def _reaching(server: str) -> Iterator[None]:
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
        raise ServerUnreachable(
            f"The control plane at {server} does not answer.", hint="Check its address, and that it runs."
        ) from error
    except httpx.TransportError as error:
        raise ServerUnreachable(
            f"The control plane at {server} broke the connection, or was too slow.",
            hint="Whether a change was made is not known: look, then try again.",
            maybe_done=True,
        ) from error


def _tenant(tenant_id: str) -> str:
    return f"/tenants/{part(tenant_id)}"


def _administrator(administrator_id: str) -> str:
    return f"/administrators/{part(administrator_id)}"


def _mapping(response: httpx.Response, server: str) -> dict[str, Any]:
    try:
        content = response.json()
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ServerUnreachable(f"{server} does not answer as a control plane does.", hint=_WRONG_ADDRESS)
    return content


def _parameter(value: Any) -> Any:  # noqa: ANN401 -- what httpx takes
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return value


def _read(kind: type[T], response: httpx.Response) -> T:
    try:
        return kind.model_validate_json(response.content)
    except pydantic.ValidationError as error:
        raise ServerUnreachable(
            "The control plane answered with something else than was asked for.",
            hint="Use the command line of the version of the control plane.",
            maybe_done=True,
        ) from error


def _problem(response: httpx.Response, server: str) -> schemas.ProblemDetails:
    try:
        return schemas.ProblemDetails.model_validate_json(response.content)
    except pydantic.ValidationError as error:
        raise ServerUnreachable(
            f"{server} answered {response.status_code}, and not as a control plane does.",
            hint=_WRONG_ADDRESS,
            maybe_done=response.is_server_error,
        ) from error
