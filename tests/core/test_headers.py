"""What crosses the gateway, and what a client cannot smuggle past it."""

from __future__ import annotations

import pytest
from hypothesis import given

from core.strategies import header_fields
from scopegate.core.headers import Field, admitted, end_to_end, nominated_by_connection

CREDENTIALS = frozenset({b"x-api-key", b"authorization"})

HOP_BY_HOP = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
]

NEVER_ADMITTED = {
    "our user": "x-scopegate-user",
    "our tenant": "x-scopegate-tenant",
    "our key id": "x-scopegate-key-id",
    "any later identity header of ours": "x-scopegate-anything",
    "the request id, which is ours to set": "x-request-id",
    "the key": "x-api-key",
    "the bearer": "authorization",
    "a proxied CGI's user": "remote-user",
    "its copy": "x-remote-user",
    "oauth2-proxy's user": "x-auth-request-user",
    "oauth2-proxy's e-mail": "x-auth-request-email",
    "oauth2-proxy's forwarded e-mail": "x-forwarded-email",
    "oauth2-proxy's forwarded user": "x-forwarded-user",
    "Kong's consumer": "x-consumer-username",
    "Kong's consumer id": "x-consumer-id",
    "Kong's user id": "x-authenticated-userid",
    "Grafana's user": "x-webauth-user",
    "authentik's user": "x-authentik-username",
    "authentik's groups": "x-authentik-groups",
    "Kubernetes' impersonation": "impersonate-user",
    "Kubernetes' extra claims": "impersonate-extra-scopes",
    "nginx's client certificate": "ssl-client-s-dn",
    "its copy with a prefix": "x-ssl-client-cert",
    "Envoy's client certificate": "x-forwarded-client-cert",
    "a client certificate": "x-client-cert",
    "Authelia's e-mail": "remote-email",
    "Authelia's groups": "remote-groups",
    "Authelia's name": "remote-name",
    "Google's user": "x-goog-authenticated-user-email",
    "Azure's user": "x-ms-client-principal-name",
    "Amazon's user": "x-amzn-oidc-identity",
    "Cloudflare's user": "cf-access-authenticated-user-email",
    "Tailscale's user": "tailscale-user-login",
    "Pomerium's user": "x-pomerium-claim-email",
    "Vouch's user": "x-vouch-user",
    "a user's name": "x-auth-username",
    "a plain user": "x-user",
    "a plain user id": "x-user-id",
    "an authenticated user": "x-auth-user",
    "another method": "x-http-method-override",
    "another method, short": "x-http-method",
    "another method, shorter": "x-method-override",
    "another method by a proxy": "x-forwarded-method",
    "another original method": "x-original-method",
    "another path (IIS, Symfony)": "x-original-url",
    "another path (IIS)": "x-rewrite-url",
    "another path (nginx)": "x-original-uri",
    "another path (Traefik)": "x-forwarded-uri",
    "another path (Envoy)": "x-envoy-original-path",
    "another path (Odoo)": "x-override-url",
    "another path by its name": "x-request-uri",
    "another URL by its name": "x-request-url",
    "another forwarded URL": "x-forwarded-url",
    "another original path": "x-original-path",
    "another path (Next.js)": "x-invoke-path",
    "another matched path (Next.js)": "x-matched-path",
    "no middleware (Next.js, CVE-2025-29927)": "x-middleware-subrequest",
    "another path (Azure)": "x-waws-unencoded-url",
    "another URL (Sun)": "x-http-destinationurl",
    "another URL by a proxy": "x-proxy-url",
    "another mount": "x-script-name",
    "another original host": "x-original-host",
    "another prefix": "x-forwarded-prefix",
    "another host": "x-forwarded-host",
    "another scheme": "x-forwarded-proto",
    "another client": "x-forwarded-for",
    "another client, short": "x-real-ip",
    "another client, other spelling": "x-client-ip",
    "all of these in the standard's way": "forwarded",
    "the client's wish for the next hop": "connection",
    "the next hop's patience": "keep-alive",
    "the next hop's patience, other spelling": "proxy-connection",
    "the next hop's password": "proxy-authorization",
    "the next hop's question for a password": "proxy-authenticate",
    "another protocol for the next hop": "upgrade",
    "codings for the next hop": "te",
    "trailers for the next hop": "trailer",
}

ALWAYS_ADMITTED = [
    "accept",
    "accept-encoding",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "if-none-match",
    "origin",
    "range",
    "referer",
    "traceparent",
    "transfer-encoding",
    "user-agent",
    "via",
    "x_ordinary",
    "x-scope",
    "x-scopegateway",
    "x-user-agent",
    "x-forwarded",
]


def spellings(name: str) -> list[bytes]:
    """With ``_`` for every ``-``, for the first and for the last."""
    last = "_".join(name.rsplit("-", 1))
    return [spelled.encode() for spelled in (name, name.replace("-", "_"), name.replace("-", "_", 1), last)]


@pytest.mark.parametrize("name", NEVER_ADMITTED.values(), ids=list(NEVER_ADMITTED))
def test_a_claim_of_the_client_reaches_nobody_however_it_is_spelled(name: str) -> None:
    for spelled in spellings(name):
        fields = [(b"accept", b"*/*"), (spelled, b"spoof"), (b"host", b"h"), (spelled, b"")]
        assert admitted(fields, credentials=CREDENTIALS) == [(b"accept", b"*/*"), (b"host", b"h")]


@pytest.mark.parametrize("name", ALWAYS_ADMITTED)
def test_an_ordinary_field_passes_as_it_is(name: str) -> None:
    field = (name.encode(), b" some \xff value ")
    assert admitted([field], credentials=CREDENTIALS) == [field]


def test_order_and_repetition_of_ordinary_fields_stay() -> None:
    fields = [(b"b", b"1"), (b"cookie", b"x"), (b"a", b"2"), (b"b", b"1"), (b"a", b""), (b"cookie", b"y")]
    assert admitted(fields, credentials=CREDENTIALS) == fields
    assert end_to_end(fields) == fields


def test_an_authorization_that_is_no_credential_of_ours_passes() -> None:
    field = (b"authorization", b"Basic eDp5")
    assert admitted([field], credentials=frozenset({b"x-api-key"})) == [field]


@pytest.mark.parametrize("configured", [b"x-custom-key", b"x_custom_key", b"x_custom-key"])
def test_a_credential_is_dropped_whichever_way_its_name_is_configured_and_sent(configured: bytes) -> None:
    for sent in spellings("x-custom-key"):
        assert admitted([(sent, b"secret")], credentials=frozenset({configured})) == []


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_a_hop_by_hop_field_ends_here(name: str) -> None:
    for spelled in spellings(name):
        assert end_to_end([(b"accept", b"*/*"), (spelled, b"x")]) == [(b"accept", b"*/*")]


@pytest.mark.parametrize(
    ("value", "nominated"),
    [
        (b"", set()),
        (b"close", set()),
        (b"keep-alive", set()),
        (b"keep-alive, X-Trace", {b"x-trace"}),
        (b"close, " + b"x" * 100, {b"x" * 100}),
        (b"x-a,x-b ,\tx-c", {b"x-a", b"x-b", b"x-c"}),
        (b"X_Scopegate_User", {b"x-scopegate-user"}),
        (b"host, content-length, content-type, content-encoding", set()),
        (b"Host, Content_Length", set()),
        (b"upgrade, transfer-encoding", set()),
    ],
)
def test_connection_nominates_what_it_lists_but_not_what_the_message_needs(
    value: bytes, nominated: set[bytes]
) -> None:
    assert nominated_by_connection([(b"connection", value)]) == nominated


def test_every_connection_field_counts_and_no_other_field_does() -> None:
    fields = [(b"connection", b"x-a"), (b"accept", b"x-b"), (b"connection", b"x-c")]
    assert nominated_by_connection(fields) == {b"x-a", b"x-c"}


@pytest.mark.parametrize("wish", [b"x-trace", b"X-Trace", b"close, x_trace"])
@pytest.mark.parametrize("name", [b"x-trace", b"x_trace"])
def test_a_nominated_field_goes_no_further(wish: bytes, name: bytes) -> None:
    fields = [(b"connection", wish), (name, b"1"), (b"accept", b"*/*")]
    assert admitted(fields, credentials=CREDENTIALS) == [(b"accept", b"*/*")]
    assert end_to_end(fields) == [(b"accept", b"*/*")]


@pytest.mark.parametrize("name", [b"host", b"content-length", b"content-type", b"content-encoding"])
def test_connection_cannot_take_away_what_the_upstream_needs_to_read_the_message(name: bytes) -> None:
    fields = [(b"connection", name + b", close"), (name, b"1")]
    assert admitted(fields, credentials=CREDENTIALS) == [(name, b"1")]
    assert end_to_end(fields) == [(name, b"1")]


def test_framing_reaches_the_application_but_not_the_next_hop() -> None:
    coding = (b"transfer-encoding", b"x")
    fields = [(b"connection", b"transfer-encoding"), coding]
    assert admitted(fields, credentials=CREDENTIALS) == [coding]
    assert end_to_end(fields) == []


def test_connection_cannot_remove_the_identity_that_is_set_after_it() -> None:
    fields = admitted([(b"connection", b"x-scopegate-user")], credentials=CREDENTIALS)
    assert end_to_end([*fields, (b"x-scopegate-user", b"kim")]) == [(b"x-scopegate-user", b"kim")]


def is_subsequence(part: list[Field], whole: list[Field]) -> bool:
    rest = iter(whole)
    return all(field in rest for field in part)


@given(header_fields())
def test_admitting_only_takes_away(fields: list[Field]) -> None:
    assert is_subsequence(admitted(fields, credentials=CREDENTIALS), fields)
    assert is_subsequence(end_to_end(fields), fields)


@given(header_fields())
def test_admitting_twice_changes_nothing(fields: list[Field]) -> None:
    once = admitted(fields, credentials=CREDENTIALS)
    assert admitted(once, credentials=CREDENTIALS) == once
    assert end_to_end(end_to_end(fields)) == end_to_end(fields)


@given(header_fields())
def test_no_claim_is_left_in_any_spelling(fields: list[Field]) -> None:
    left = {name.replace(b"_", b"-").decode() for name, _ in admitted(fields, credentials=CREDENTIALS)}
    assert left.isdisjoint(NEVER_ADMITTED.values())
    assert not any(name.startswith("x-scopegate-") for name in left)
