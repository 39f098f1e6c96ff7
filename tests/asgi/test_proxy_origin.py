"""The upstream's URL: what it may be, and what an error says."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from scopegate.proxy import ReverseProxy, Timeouts
from scopegate.proxy.origin import parse_origin


@pytest.mark.parametrize(
    ("upstream", "host", "port", "authority"),
    [
        ("http://api", "api", 80, b"api"),
        ("http://api/", "api", 80, b"api"),
        ("http://api:80", "api", 80, b"api"),
        ("http://api:8080", "api", 8080, b"api:8080"),
        ("http://API.example", "api.example", 80, b"api.example"),
        ("http://127.0.0.1:443", "127.0.0.1", 443, b"127.0.0.1:443"),
        ("http://[::1]:81", "::1", 81, b"[::1]:81"),
        ("https://api", "api", 443, b"api"),
        ("https://api:80", "api", 80, b"api:80"),
    ],
)
def test_host_port_and_authority_come_from_the_url(
    upstream: str, host: str, port: int, authority: bytes
) -> None:
    origin = parse_origin(upstream)
    assert (origin.host, origin.port, origin.authority) == (host, port, authority)


def test_https_is_verified_against_the_system_by_default() -> None:
    context = parse_origin("https://api").tls
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_https_uses_the_given_context() -> None:
    context = ssl.create_default_context()
    assert parse_origin("https://api", context).tls is context


def test_a_unix_upstream_is_a_path() -> None:
    origin = parse_origin("unix:/run/api.sock")
    assert (origin.socket_path, origin.authority) == ("/run/api.sock", b"localhost")


@pytest.mark.parametrize(
    ("upstream", "part"),
    [
        ("", "scheme"),
        ("api:8080", "scheme"),
        ("ftp://api", "scheme"),
        ("HTTP//api", "scheme"),
        ("http:api", "'//'"),
        ("http://", "host"),
        ("http://:80", "host"),
        ("http://a%2eb", "host"),
        ("http://[::1", "host"),
        ("http://api:0", "port"),
        ("http://api:", "port"),
        ("http://api:99999", "port"),
        ("http://api:x", "port"),
        ("http://user:hunter2@api", "user"),
        ("http://api/v1?hunter2", "query"),
        ("http://api?", "query"),
        ("http://api#hunter2", "fragment"),
        ("http://api/v1", "path"),
        ("http://api//", "path"),
        ("http://a b", "white space"),
        ("http://api\n", "white space"),
        ("http://bücher.example", "non-ASCII"),
        ("unix:api.sock", "absolute"),
        ("unix://run/api.sock", "absolute"),
        ("unix:", "absolute"),
    ],
)
def test_a_wrong_url_is_refused_with_the_part_that_is_wrong(upstream: str, part: str) -> None:
    with pytest.raises(ValueError, match=part) as refusal:
        ReverseProxy(upstream)
    assert "hunter2" not in str(refusal.value)


def test_a_tls_context_needs_https() -> None:
    with pytest.raises(ValueError, match="ssl_context"):
        ReverseProxy("http://api", ssl_context=ssl.create_default_context())


@pytest.mark.parametrize("name", ["connect", "head", "idle", "pool"])
@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_timeouts_are_positive(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=name):
        Timeouts(**{name: seconds})


def test_only_the_whole_exchange_may_have_no_bound() -> None:
    assert Timeouts(total=0).total == 0
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError, match="total"):
            Timeouts(total=seconds)


@pytest.mark.parametrize(
    "options", [{"host_policy": "keep"}, {"max_connections": 0}, {"idle_expiry": 0}], ids=str
)
def test_wrong_options_fail_at_construction(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        ReverseProxy("http://api", **options)


def test_the_repr_names_the_upstream() -> None:
    assert repr(ReverseProxy("http://api:8080")) == "ReverseProxy('http://api:8080')"
