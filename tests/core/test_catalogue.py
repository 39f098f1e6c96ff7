"""The endpoint catalogue: every entry that matches applies, and the unlisted is denied."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.strategies import endpoints, requests
from scopegate.core.catalogue import Catalogue, Endpoint
from scopegate.core.errors import InvalidInput
from scopegate.core.request import METHODS, CanonicalRequest


def endpoint(methods: str, url: str, privileges: str = "") -> Endpoint:
    return Endpoint(frozenset(methods.split()), url, frozenset(privileges.split()))


ENTRIES = [
    endpoint("GET", "/api/recordings/*", "recordings.read"),
    endpoint("POST DELETE", "/api/recordings/*", "recordings.write"),
    endpoint("GET", "/api/recordings/archive/*", "archive.access"),
    endpoint("*", "/api/admin/*", "admin"),
    endpoint("POST", "/api/admin/keys", "keys.manage"),
    endpoint("HEAD", "/api/probe", "probe"),
    endpoint("GET", "/api/status"),
    endpoint("GET", "https://intern.example/api/salaries", "salaries.read"),
    endpoint("GET", "/api/files/*", "files.read"),
    endpoint("GET", "/api/files/secret", "files.secret"),
    endpoint("GET", "/api/files/*/inner", "files.inner"),
]


@pytest.mark.parametrize(
    ("method", "path", "required"),
    [
        ("GET", "/api/recordings/7", "recordings.read"),
        ("POST", "/api/recordings/7", "recordings.write"),
        ("DELETE", "/api/recordings/7", "recordings.write"),
        ("GET", "/api/recordings/archive/7", "recordings.read archive.access"),
        ("POST", "/api/recordings/archive/7", "recordings.write"),
        ("GET", "/api/admin/x", "admin"),
        ("OPTIONS", "/api/admin/x", "admin"),
        ("POST", "/api/admin/keys", "admin keys.manage"),
        ("GET", "/api/status", ""),
        # GET covers HEAD; HEAD alone covers no GET.
        ("HEAD", "/api/recordings/7", "recordings.read"),
        ("HEAD", "/api/recordings/archive/7", "recordings.read archive.access"),
        ("HEAD", "/api/admin/x", "admin"),
        ("HEAD", "/api/status", ""),
        ("HEAD", "/api/probe", "probe"),
        ("GET", "/api/probe", None),
        # Unlisted.
        ("PUT", "/api/recordings/7", None),
        ("GET", "/api/recordings", None),
        ("GET", "/api/Recordings/7", None),
        ("GET", "/", None),
        ("POST", "/api/status", None),
        # What the upstream may read instead is required too.
        ("GET", "/api/files/a", "files.read"),
        ("GET", "/api/files/secret", "files.read files.secret"),
        ("GET", "/api/files/secret;v=1", "files.read files.secret"),
        ("GET", "/api/files/secret%3Bv", "files.read files.secret"),
        ("GET", "/api/files/secret%3Fv", "files.read files.secret"),
        ("GET", "/api/files/secret%23v", "files.read files.secret"),
        ("GET", "/api/files/secret%20v", "files.read"),
        ("GET", "/api/files/a%3F/inner", "files.read files.inner"),
        ("GET", "/api/files/secret%3F/inner", "files.read files.inner files.secret"),
        ("GET", "/api/status%3Fv", None),
        ("GET", "/api/admin%3F/api/admin/x", None),
    ],
)
def test_all_entries_that_match_apply_and_the_unlisted_is_denied(
    method: str, path: str, required: str | None
) -> None:
    expected = None if required is None else set(required.split())
    assert Catalogue(ENTRIES).required(CanonicalRequest(method, path)) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("intern.example", {"salaries.read"}),
        ("intern.example:443", {"salaries.read"}),
        ("x", None),
        (None, None),
    ],
)
def test_an_entry_with_a_host_applies_at_that_host(host: str | None, expected: set[str] | None) -> None:
    assert Catalogue(ENTRIES).required(CanonicalRequest("GET", "/api/salaries", host)) == expected


def test_a_tenant_may_let_unlisted_endpoints_need_no_privilege() -> None:
    catalogue = Catalogue(ENTRIES, unlisted_allowed=True)
    assert catalogue.required(CanonicalRequest("GET", "/elsewhere")) == frozenset()
    assert catalogue.required(CanonicalRequest("GET", "/api/admin/x")) == frozenset({"admin"})
    # One reading is unlisted, the other is not.
    both = frozenset({"files.read", "files.secret"})
    assert catalogue.required(CanonicalRequest("GET", "/api/files/secret%3F/x")) == both


def test_an_empty_catalogue_lists_nothing() -> None:
    assert Catalogue().required(CanonicalRequest("GET", "/")) is None
    assert Catalogue(unlisted_allowed=True).required(CanonicalRequest("GET", "/")) == frozenset()


@pytest.mark.parametrize("methods", [set(), {"get"}, {"GET", "BREW"}, {""}, {"TRACE"}, {"ANY"}])
def test_an_entry_names_methods_that_exist(methods: set[str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        Endpoint(frozenset(methods), "/x")
    assert refused.value.field == "methods"
    assert refused.value.hint


def test_an_entry_keeps_its_url_in_one_spelling() -> None:
    assert endpoint("GET", "/%61pi/**") == endpoint("GET", "/api/*")
    with pytest.raises(InvalidInput):
        endpoint("GET", "/a/../b")


@given(requests(), st.lists(endpoints(), max_size=6), endpoints(), st.booleans())
def test_one_more_entry_never_requires_less(
    request: CanonicalRequest,
    entries: list[Endpoint],
    more: Endpoint,
    unlisted_allowed: bool,  # noqa: FBT001 -- drawn
) -> None:
    before = Catalogue(entries, unlisted_allowed=unlisted_allowed).required(request)
    assume(before is not None)
    after = Catalogue([*entries, more], unlisted_allowed=unlisted_allowed).required(request)
    assert after is not None
    assert after >= (before or frozenset())


@given(requests(), st.lists(endpoints(), max_size=6))
def test_the_order_of_entries_means_nothing(request: CanonicalRequest, entries: list[Endpoint]) -> None:
    assert Catalogue(entries).required(request) == Catalogue(reversed(entries)).required(request)


@given(requests(), st.lists(endpoints(), max_size=6))
def test_head_requires_what_get_requires(request: CanonicalRequest, entries: list[Endpoint]) -> None:
    catalogue = Catalogue(entries)
    get = catalogue.required(CanonicalRequest("GET", request.path, request.host))
    head = catalogue.required(CanonicalRequest("HEAD", request.path, request.host))
    assert get is None or (head is not None and head >= get)


@given(requests(), st.lists(endpoints(), max_size=6))
def test_allowing_the_unlisted_changes_nothing_for_the_listed(
    request: CanonicalRequest, entries: list[Endpoint]
) -> None:
    denied = Catalogue(entries).required(request)
    allowed = Catalogue(entries, unlisted_allowed=True).required(request)
    assert denied in (None, allowed)


@given(st.sampled_from(sorted(METHODS)), requests())
def test_an_entry_for_any_method_applies_to_each(method: str, request: CanonicalRequest) -> None:
    catalogue = Catalogue([endpoint("*", "*", "p")])
    assert catalogue.required(CanonicalRequest(method, request.path, request.host)) == frozenset({"p"})
