"""The administration API as one ASGI application."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from scopegate.admin import (
    administrators,
    audit,
    bootstrap,
    bulk,
    decisions,
    drift,
    endpoints,
    flags,
    groups,
    keys,
    oidc,
    policies,
    quota,
    reference,
    session,
    tenants,
    users,
)
from scopegate.admin.entrance import Entrance
from scopegate.admin.openapi import describe, methods_of
from scopegate.admin.outermost import REQUEST_ID
from scopegate.admin.problems import FAILED, NO_JSON, TOO_LARGE, problem_of, problem_of_request
from scopegate.core.errors import ScopegateError
from scopegate.problems import Problem, problem_fields

PREFIX = "/admin/v1"
_DESCRIPTION = """Administration of Scopegate: keys, users, policies, tenants, administrators, the audit log.

A request names its tenant with `?tenant=`; there is one called `default`, which is meant where none is named.
Moments are RFC 3339 with an offset. Refusals are RFC 9457 problem details, whose `code` is stable.
"""
_NOT_FOUND = Problem(
    404, "not_found", "There is nothing here", "See /admin/v1/openapi.json for what there is."
)


def create_api(entrance: Entrance | None = None) -> FastAPI:
    """The routes of the administration API; `Gatekeeper` says who comes in.

    Without an `entrance` nobody signs in, or is made the first administrator: the operator can do all.
    """
    api = FastAPI(
        title="Scopegate administration",
        version=version("scopegate"),
        description=_DESCRIPTION,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    of_tenants = (bulk, keys, quota, users, groups, policies, decisions, endpoints, drift, flags, audit)
    for routes in (*of_tenants, tenants, administrators, reference):
        api.include_router(routes.router, prefix=PREFIX)
    if entrance is not None:
        api.include_router(bootstrap.bootstrap_routes(entrance.authentication), prefix=PREFIX)
        api.include_router(session.session_routes(entrance), prefix=PREFIX)
        api.include_router(oidc.oidc_routes(entrance), prefix=PREFIX)
    api.add_exception_handler(ScopegateError, _told)
    api.add_exception_handler(RequestValidationError, _not_valid)
    api.add_exception_handler(HTTPException, _not_served)
    api.add_exception_handler(Exception, _failed)
    api.openapi = lambda: describe(api)  # type: ignore[method-assign]
    return api


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, ScopegateError)  # noqa: S101 -- what it is registered for
    return _answer(request, *problem_of(error, has_body=request.method not in {"GET", "HEAD", "DELETE"}))


async def _not_valid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 -- as above
    return _answer(request, *problem_of_request(error.errors()))


async def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 -- as above
    if error.status_code == 405:  # noqa: PLR2004 -- RFC 9110 section 15.5.6
        allow = ", ".join(methods_of(describe(request.app), request.url.path))
        problem = Problem(
            405,
            "method_not_supported",
            "The method is not supported",
            f"Use {allow}." if allow else "Use another method.",
            ((b"allow", allow.encode("latin-1")),) if allow else (),
        )
        return _answer(request, problem)
    if error.status_code == 404:  # noqa: PLR2004 -- RFC 9110 section 15.5.5
        return _answer(request, _NOT_FOUND)
    if error.status_code == TOO_LARGE.status:
        return _answer(request, TOO_LARGE)
    if error.status_code == NO_JSON.status:  # text that is no UTF-8, or nested too deeply
        return _answer(request, NO_JSON)
    return _answer(
        request, Problem(error.status_code, "request_invalid", "The request is not valid", error.detail)
    )


async def _failed(request: Request, _error: Exception) -> Response:
    return _answer(request, FAILED)  # `Outermost` logs it


def _answer(request: Request, problem: Problem, members: Mapping[str, Any] | None = None) -> Response:
    fields, body = problem_fields(problem, request.scope[REQUEST_ID], members)
    response = Response(body, problem.status)
    response.raw_headers = fields
    return response
