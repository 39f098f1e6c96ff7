"""Which fields cross the gateway, looked at on the wire."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from wire.servers import KEY, WRONG_KEY, ok, request

if TYPE_CHECKING:
    from wire.servers import Server
    from wire.wires import Message, Upstream

OWN = pytest.mark.parametrize("server", ["own"], indirect=True)
TRUSTING = pytest.mark.parametrize("server", ["own-impatient"], indirect=True)
_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_KEY_ID = KEY.split(b"_")[1]


def passed(server: Server, upstream: Upstream, *fields: bytes, key: bytes = KEY) -> Message:
    """The request as the upstream gets it."""
    return exchange(server, upstream, request(b"GET", b"/", *fields, key=key), ok())[0]


def exchange(server: Server, upstream: Upstream, raw: bytes, answer: bytes) -> tuple[Message, Message]:
    """The request as the upstream gets it, and the answer as the client gets it."""
    with server.connect() as client:
        client.send(raw)
        peer = upstream.called()
        asked = peer.request()
        peer.send(answer)
        return asked, client.answer()


@OWN
def test_a_plain_request_gets_these_fields_and_no_others(server: Server, upstream: Upstream) -> None:
    asked = passed(server, upstream, b"Accept: */*", b"X-Other: a")
    assert sorted((name, value) for name, value in asked.fields if name != b"x-request-id") == [
        (b"accept", b"*/*"),
        (b"forwarded", b"for=127.0.0.1;proto=http;host=api.example"),
        (b"host", b"api.example"),
        (b"via", b"1.1 scopegate"),
        (b"x-forwarded-for", b"127.0.0.1"),
        (b"x-forwarded-host", b"api.example"),
        (b"x-forwarded-proto", b"http"),
        (b"x-other", b"a"),
        (b"x-scopegate-key-id", _KEY_ID),
        (b"x-scopegate-tenant", b"default"),
    ]


@pytest.mark.parametrize(
    "claim",
    [
        b"X-Scopegate-Key-Id: root",
        b"x-scopegate-key-id: root",
        b"X-SCOPEGATE-KEY-ID: root",
        b"X_Scopegate_Key_Id: root",
        b"X-Scopegate_Key-Id: root",
        b"X-Scopegate-Tenant: root",
        b"X_SCOPEGATE_TENANT: root",
        b"X-Scopegate-User: root",
        b"x_scopegate-user: root",
        b"X-Scopegate-Anything: root",
        b"X-Scopegate-: root",
    ],
)
def test_identity_is_ours_alone(server: Server, upstream: Upstream, claim: bytes) -> None:
    asked = passed(server, upstream, claim, claim)
    assert b"root" not in [value for _, value in asked.fields]
    ours = {
        name: value for name, value in asked.fields if name.replace(b"_", b"-").startswith(b"x-scopegate-")
    }
    assert ours == {b"x-scopegate-key-id": _KEY_ID, b"x-scopegate-tenant": b"default"}
    assert len(asked.values(b"x-scopegate-key-id")) == 1


@pytest.mark.parametrize(
    "fields",
    [
        (b"X-API-Key: " + KEY,),
        (b"x-api-key:" + KEY,),
        (b"X-API-KEY:\t" + KEY + b" \t",),
        (b"Authorization: Bearer " + KEY,),
        (b"authorization: bEARER  " + KEY,),
        (b"X-API-Key: " + KEY, b"X_API_Key: " + KEY),
        (b"X-API-Key: " + KEY, b"X_Api-Key: " + WRONG_KEY),
    ],
)
def test_no_key_passes(server: Server, upstream: Upstream, fields: tuple[bytes, ...]) -> None:
    asked = passed(server, upstream, *fields, key=b"")
    assert not [field for field in asked.fields if b"sg_" in field[1]]
    assert not asked.values(b"authorization")


def test_another_kind_of_authorization_is_the_upstreams(server: Server, upstream: Upstream) -> None:
    assert passed(server, upstream, b"Authorization: Basic YTpi").values(b"authorization") == [b"Basic YTpi"]


@pytest.mark.parametrize(
    ("key", "status"), [(b"", 401), (WRONG_KEY, 401), (KEY[:-1], 401), (KEY + b"x", 401), (b"sg_", 401)]
)
def test_without_the_right_key_nothing_passes(
    server: Server, upstream: Upstream, key: bytes, status: int
) -> None:
    with server.connect() as client:
        for _ in range(2):
            client.send(request(key=key))
            answer = client.answer()
            assert answer.status == status
            assert answer.values(b"www-authenticate")
            assert KEY not in answer.body
    assert upstream.is_left_alone()


_HOPS = (b"Keep-Alive", b"Proxy-Authenticate", b"Proxy-Authorization", b"Proxy-Connection", b"TE", b"Trailer")


@pytest.mark.parametrize("name", [*_HOPS, *(name.replace(b"-", b"_") for name in _HOPS if b"-" in name)])
def test_hop_by_hop_fields_end_here_both_ways(server: Server, upstream: Upstream, name: bytes) -> None:
    raw = request(b"GET", b"/", name + b": a")
    asked, answer = exchange(server, upstream, raw, ok(b"ok", name + b": a"))
    for message in (asked, answer):
        assert name.lower() not in [field.lower() for field, _ in message.fields]


@pytest.mark.parametrize(
    "nomination", [b"x-secret", b"X-Secret", b"X_Secret", b"close, x-secret", b" , ,x-secret\t,"]
)
def test_what_connection_nominates_ends_here_both_ways(
    server: Server, upstream: Upstream, nomination: bytes
) -> None:
    fields = (b"Connection: " + nomination, b"X-Secret: a", b"X-Open: b")
    asked, answer = exchange(server, upstream, request(b"GET", b"/", *fields), ok(b"ok", *fields))
    for message in (asked, answer):
        assert message.values(b"x-secret") == []
        assert message.values(b"x-open") == [b"b"]
        assert nomination not in message.values(b"connection")


@pytest.mark.parametrize(
    "name",
    [
        b"X-Scopegate-Key-Id",
        b"X-Request-ID",
        b"X-Forwarded-For",
        b"Forwarded",
        b"Host",
        b"Content-Length",
        b"Via",
    ],
)
def test_nobody_nominates_what_we_write(server: Server, upstream: Upstream, name: bytes) -> None:
    raw = request(b"POST", b"/", b"Connection: " + name, body=b"hello")
    asked, _ = exchange(server, upstream, raw, ok())
    assert asked.body == b"hello"
    assert len(asked.values(name.lower())) == 1


@pytest.mark.parametrize(
    "given",
    [
        (b"X-Request-ID: from-the-client",),
        (b"x_request_id: from-the-client",),
        (b"X-Request-ID: from-the-client", b"X-Request-ID: from-the-client"),
        (),
    ],
)
def test_the_request_id_is_ours(server: Server, upstream: Upstream, given: tuple[bytes, ...]) -> None:
    asked = passed(server, upstream, *given)
    (request_id,) = asked.values(b"x-request-id")
    assert _ID.fullmatch(request_id)
    assert b"from-the-client" not in [value for _, value in asked.fields]


_CLAIMS = (
    b"X-Forwarded-For: 203.0.113.9",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Host: evil.example",
    b"X-Forwarded-Prefix: /x",
    b"X-Forwarded-Port: 1",
    b"X_Forwarded_For: 203.0.113.9",
    b"Forwarded: for=203.0.113.9;host=evil.example",
    b"X-Real-IP: 203.0.113.9",
    b"X-Original-URL: /admin",
    b"X-Rewrite-URL: /admin",
    b"X-HTTP-Method-Override: DELETE",
    b"X-Forwarded-User: root",
    b"Remote-User: root",
    b"SSL-Client-Verify: SUCCESS",
)


def test_the_claims_of_a_client_end_here(server: Server, upstream: Upstream) -> None:
    asked = passed(server, upstream, *_CLAIMS)
    values = b" ".join(value for _, value in asked.fields)
    assert not re.search(rb"203\.0\.113\.9|evil|/x|/admin|root|DELETE|SUCCESS|https", values)
    assert asked.values(b"x-forwarded-for") == [b"127.0.0.1"]
    assert asked.values(b"x-forwarded-proto") == [b"http"]
    assert asked.values(b"x-forwarded-host") == [b"api.example"]
    assert asked.values(b"forwarded") == [b"for=127.0.0.1;proto=http;host=api.example"]


@TRUSTING
def test_the_claims_of_a_trusted_proxy_are_appended_to(server: Server, upstream: Upstream) -> None:
    asked = passed(
        server,
        upstream,
        b"X-Forwarded-For: 203.0.113.9, 198.51.100.2",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: front.example",
        b"X-Request-ID: from-the-proxy",
    )
    assert asked.values(b"x-forwarded-for") == [b"203.0.113.9, 198.51.100.2, 127.0.0.1"]
    assert asked.values(b"x-forwarded-proto") == [b"https"]
    assert asked.values(b"x-forwarded-host") == [b"front.example"]
    assert asked.values(b"x-request-id") == [b"from-the-proxy"]
    nodes = (b"203.0.113.9", b"198.51.100.2", b"127.0.0.1")
    asked_for = [b"for=%b;proto=https;host=front.example" % node for node in nodes]
    assert asked.values(b"forwarded") == [b", ".join(asked_for)]


@TRUSTING
def test_what_else_a_trusted_proxy_lets_through_ends_here(server: Server, upstream: Upstream) -> None:
    asked = passed(
        server, upstream, b"X-Scopegate-User: root", b"X-Original-URL: /admin", b"Remote-User: root"
    )
    assert not re.search(rb"root|/admin", b" ".join(value for _, value in asked.fields))


@TRUSTING
@pytest.mark.parametrize("claim", [b"Forwarded: for=203.0.113.9;proto=https", b"X-Real-IP: 203.0.113.9"])
def test_a_trusted_proxy_may_say_it_otherwise(server: Server, upstream: Upstream, claim: bytes) -> None:
    asked = passed(server, upstream, claim)
    assert asked.values(b"x-forwarded-for") == [b"203.0.113.9, 127.0.0.1"]
    assert not asked.values(b"x-real-ip")


@OWN
def test_our_own_answers_carry_the_request_id(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(request(key=b""))
        answer = client.answer()
    (request_id,) = answer.values(b"x-request-id")
    assert _ID.fullmatch(request_id)
    assert request_id in answer.body


@pytest.mark.parametrize("host", [b"api.example", b"API.example:8443", b"[::1]:80", b"127.0.0.1"])
def test_the_host_passes(server: Server, upstream: Upstream, host: bytes) -> None:
    raw = request().replace(b"api.example", host)
    asked, _ = exchange(server, upstream, raw, ok())
    assert asked.values(b"host") == [host]


@pytest.mark.parametrize(
    "target",
    [b"/a%20b?c=%2F&d", b"/?", b"/?a?b", b"/%C3%A9", b"/a;b=c,d", b"/!$&'()*+,;=:@-._~", b"/a?x=/../y"],
)
def test_the_target_passes_as_it_is(server: Server, upstream: Upstream, target: bytes) -> None:
    asked, _ = exchange(server, upstream, request(target=target), ok())
    assert asked.target.rstrip(b"?") == target.rstrip(b"?")


@pytest.mark.parametrize(
    "target",
    [b"/a/../b", b"/a/%2e%2e/b", b"/a//b", b"/a%2Fb", b"/a%5cb", b"/a%00b", b"/a%zz", b"/a%252fb", b"/%ff"],
)
def test_a_target_with_several_readings_is_refused(server: Server, upstream: Upstream, target: bytes) -> None:
    with server.connect() as client:
        client.send(request(target=target))
        assert client.answer().status == 400
    assert upstream.is_left_alone()
