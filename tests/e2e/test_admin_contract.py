"""The administration API does what its OpenAPI description says, whatever it is sent."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from e2e.administrators import admin_url, bootstrapped
from e2e.gateways import serving
from e2e.processes import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOWHERE = "http://127.0.0.1:9"
EXAMPLES = 15  # of each operation; schemathesis adds those at the edges of each schema
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "allow_header_conformance",
)
UNGUARDED = {"/admin/v1/bootstrap"}  # each wrong token there counts as a failed sign-in


@pytest.fixture(scope="module")
def api(short_dir: Path) -> Iterator[httpx.Client]:
    """The API of a gateway whose custom keys can be created, in the name of its administrator."""
    with serving(short_dir / "contract", NOWHERE) as gateway:
        token = bootstrapped(gateway)
        with httpx.Client(
            base_url=f"{admin_url(gateway)}/admin/v1", headers={"Authorization": f"Bearer {token}"}
        ) as client:
            client.put("/flags/scoped-api", json={"on": True}).raise_for_status()
            yield client


@pytest.fixture(scope="module")
def described(api: httpx.Client) -> dict[str, Any]:
    answer: dict[str, Any] = api.get("/openapi.json", headers={"Authorization": ""}).json()
    return answer


def test_the_description_is_openapi_3_1(described: dict[str, Any]) -> None:
    assert described["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(described).validate()


@pytest.mark.timeout(600)  # requests for each operation, thousands in all
def test_no_answer_is_undescribed_and_none_is_a_failure_of_ours(api: httpx.Client, short_dir: Path) -> None:
    made_up = run(
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{api.base_url}openapi.json"),
        *("--header", f"Authorization: {api.headers['Authorization']}"),
        *("--checks", ",".join(CHECKS), "--max-examples", str(EXAMPLES)),
        "--generation-deterministic",
        *("--no-color", "--warnings", "off", "--exclude-path", *UNGUARDED),
        cwd=short_dir,
        timeout=540.0,
    )
    assert made_up.code == 0, made_up.out


def test_nobody_comes_in_without_a_token(api: httpx.Client, described: dict[str, Any]) -> None:
    asked = 0
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            if operation.get("security") == []:
                continue
            answer = httpx.request(method, str(api.base_url.copy_with(path=path)))
            assert answer.status_code in {401, 429}, (method, path)
            assert answer.headers["content-type"] == "application/problem+json"
            asked += 1
    assert asked > 30
