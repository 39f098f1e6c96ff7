"""Which upstream a request goes to, and which rows of the settings cannot be routes."""

from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given

from core.strategies import acceptable_raw_paths, small_hosts
from scopegate.app import create_proxy, create_routes
from scopegate.core.errors import ConfigurationError
from scopegate.core.paths import canonical_path, readings
from scopegate.proxy.routes import Route, Routes
from scopegate.settings import UpstreamSettings, load

DOCS = Path(__file__).parent.parent.parent / "docs"
REST = Route("upstream", "rest")
TABLE = (
    REST,
    Route("upstreams[0]", "api", prefix="/api"),
    Route("upstreams[1]", "v2", prefix="/api/v2", strip=True),
    Route("upstreams[2]", "b", host="B"),
    Route("upstreams[3]", "b-api", host="b", prefix="/api", strip=True),
    Route("upstreams[4]", "b:8080", host="b:8080"),
    Route("upstreams[5]", "six", host="[::1]"),
    Route("upstreams[6]", "six:80", host="[::1]:80", prefix="/x"),
)


def chosen(host: str | None, path: str, *routes: Route[str]) -> tuple[str, str] | None:
    choice = Routes(routes or TABLE).choose(host, path)
    return choice and (choice[0].target, choice[1])


@pytest.mark.parametrize(
    ("host", "path", "target", "forwarded"),
    [
        ("a", "/", "rest", "/"),
        (None, "/x", "rest", "/x"),
        ("a", "/api", "api", "/api"),
        ("a", "/api/", "api", "/api/"),
        ("a", "/api/v1", "api", "/api/v1"),
        ("a", "/apis", "rest", "/apis"),
        ("a", "/api;x", "rest", "/api;x"),
        ("a", "/api%3Fx", "rest", "/api%3Fx"),
        ("a", "/API/v1", "rest", "/API/v1"),
        ("a", "/x/api/v1", "rest", "/x/api/v1"),
        ("a", "/api/v2", "v2", "/"),
        ("a", "/api/v2/", "v2", "/"),
        ("a", "/api/v2/x/", "v2", "/x/"),
        ("a", "/api/v2/api/v2", "v2", "/api/v2"),
        ("a", "/api/v22", "api", "/api/v22"),
        (None, "/api/v2/x", "v2", "/x"),
        ("b", "/", "b", "/"),
        ("b:443", "/", "b", "/"),
        ("b", "/api/v2/x", "b-api", "/v2/x"),
        ("b:9000", "/api", "b-api", "/"),
        ("b:8080", "/x", "b:8080", "/x"),
        ("b:8080", "/api/x", "b:8080", "/api/x"),
        ("a.b", "/", "rest", "/"),
        ("b.", "/", "rest", "/"),
        ("[::1]", "/x", "six", "/x"),
        ("[::1]:443", "/x", "six", "/x"),
        ("[::1]:80", "/x", "six:80", "/x"),
        ("[::1]:80", "/y", "six", "/y"),
        ("[::2]", "/", "rest", "/"),
    ],
)
def test_the_most_specific_route_gets_the_request(
    host: str | None, path: str, target: str, forwarded: str
) -> None:
    assert chosen(host, path) == (target, forwarded)
    assert chosen(host, path, *reversed(TABLE)) == (target, forwarded)


def test_a_request_without_a_route_has_none() -> None:
    routes = [Route("upstreams[0]", "b", host="b"), Route("upstreams[1]", "api", prefix="/api")]
    for order in permutations(routes):
        assert chosen("a", "/x", *order) is None
        assert chosen(None, "/apis", *order) is None
        assert chosen("a", "/api", *order) == ("api", "/api")
        assert chosen("b", "/apis", *order) == ("b", "/apis")


def test_a_host_whose_prefixes_do_not_match_leaves_the_rest() -> None:
    routes = [
        Route("upstreams[0]", "b", host="b", prefix="/only"),
        Route("upstreams[1]", "api", prefix="/api"),
    ]
    assert chosen("b", "/api/x", *routes) == ("api", "/api/x")
    assert chosen("b", "/x", *routes, REST) == ("rest", "/x")
    assert chosen("b:80", "/only", *routes, REST) == ("b", "/only")


def test_one_route_for_everything_gets_everything() -> None:
    for host in (None, "a", ""):
        assert chosen(host, "/x", REST) == ("rest", "/x")
    assert chosen("a", "/x", Route("upstreams[0]", "a", host="a")) == ("a", "/x")
    assert chosen("b", "/x", Route("upstreams[0]", "a", host="a")) is None


@given(host=small_hosts(), raw=acceptable_raw_paths(), prefix=acceptable_raw_paths())
def test_what_is_forwarded_is_canonical_and_matched_whole_segments(
    host: str | None, raw: bytes, prefix: bytes
) -> None:
    path = canonical_path(raw)
    spelled = canonical_path(prefix)
    assume(not spelled.endswith("/") and "*" not in spelled and len(readings(spelled)) == 1)
    route = Route("upstreams[0]", "it", prefix=spelled, strip=True)
    for whole in (path, route.prefix + path):
        choice = Routes([route]).choose(host, whole)
        inside = whole.split("/")[: route.prefix.count("/") + 1] == route.prefix.split("/")
        assert (choice is not None) is inside
        if choice:
            assert canonical_path(choice[1].encode()) == choice[1]
            assert not choice[1].startswith("//")
            assert (route.prefix + choice[1]).removesuffix("/") == whole.removesuffix("/")


@pytest.mark.parametrize(
    ("options", "setting", "says"),
    [
        ({"prefix": "/"}, "prefix", "slash"),
        ({"prefix": "/a/"}, "prefix", "slash"),
        ({"prefix": "a"}, "prefix", "path_malformed"),
        ({"prefix": "/a/../b"}, "prefix", "path_dot_segment"),
        ({"prefix": "/a//b"}, "prefix", "path_empty_segment"),
        ({"prefix": "/ä"}, "prefix", "path_illegal_character"),
        ({"prefix": "/\ud800"}, "prefix", "path_illegal_character"),
        ({"prefix": "/a?b"}, "prefix", "path_illegal_character"),
        ({"prefix": "/a/*"}, "prefix", "no pattern"),
        ({"prefix": "/%41"}, "prefix", "more than one way"),
        ({"prefix": "/a;b"}, "prefix", "more than one way"),
        ({"prefix": "/a%3Fb"}, "prefix", "more than one way"),
        ({"host": ""}, "host", "not one host"),
        ({"host": "*.b"}, "host", "not one host"),
        ({"host": "http://b"}, "host", "not one host"),
        ({"host": "a, b"}, "host", "not one host"),
        ({"host": "bücher.example"}, "host", "not one host"),
        ({"strip": True}, "strip_prefix", "no prefix"),
    ],
)
def test_what_would_match_nothing_is_refused_by_its_place(
    options: dict[str, Any], setting: str, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)) as refused:
        Route("upstreams[2]", "it", **options)
    assert refused.value.setting == f"upstreams[2].{setting}"
    assert refused.value.hint


@pytest.mark.parametrize(
    "same",
    [
        ({}, {}),
        ({"host": "a"}, {"host": "A"}),
        ({"prefix": "/a"}, {"prefix": "/a", "strip": True}),
        ({"host": "a:80", "prefix": "/a"}, {"host": "a:80", "prefix": "/a"}),
    ],
)
def test_two_routes_for_the_same_requests_are_refused_by_both_names(
    same: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    first, second = same
    with pytest.raises(ConfigurationError, match=re.escape("same requests as upstreams[0]")) as refused:
        Routes([Route("upstreams[0]", 0, **first), Route("upstreams[1]", 1, **second)])
    assert refused.value.setting == "upstreams[1]"


def test_no_routes_are_none() -> None:
    with pytest.raises(ConfigurationError, match="no upstream"):
        Routes([])


def test_the_settings_of_an_upstream_outrank_those_of_all() -> None:
    settings = load(
        upstream="http://rest",
        upstreams=[
            {"url": "http://plain", "prefix": "/plain"},
            {
                "urls": ["http://one:1", "https://two:2", "unix:/three"],
                "host": "own.test",
                "prefix": "/own",
                "strip_prefix": True,
                "host_policy": "rewrite",
                "connections": 7,
                "connect_timeout": 1,
                "head_timeout": 2,
                "idle_timeout": 3,
                "total_timeout": 0,
            },
        ],
        upstream_connections=9,
        connect_timeout=11,
        head_timeout=12,
        idle_timeout=13,
        pool_timeout=14,
        total_timeout=15,
    )
    routes = create_routes(settings)
    own = routes.choose("own.test", "/own/x")
    plain = routes.choose("own.test", "/plain")
    rest = routes.choose(None, "/x")
    assert own
    assert plain
    assert rest
    assert own[1] == "/x"
    upstream = own[0].target
    assert upstream.name == "http://one:1, https://two:2, unix:/three"
    assert [origin.authority for origin in upstream.origins] == [b"one:1", b"two:2", b"localhost"]
    assert [bool(origin.tls) for origin in upstream.origins] == [False, True, False]
    assert (upstream.preserve_host, upstream.max_connections) == (False, 7)
    waits = upstream.timeouts
    assert (waits.connect, waits.head, waits.idle, waits.pool, waits.total) == (1, 2, 3, 14, 0)
    for common, name in ((plain[0].target, "http://plain"), (rest[0].target, "http://rest")):
        waits = common.timeouts
        assert common.name == name
        assert (common.preserve_host, common.max_connections) == (True, 9)
        assert (waits.connect, waits.head, waits.idle, waits.pool, waits.total) == (11, 12, 13, 14, 15)


def test_upstreams_verified_alike_share_what_verifies_them() -> None:
    routes = create_routes(load(upstreams=[{"url": "https://a", "host": "a"}, {"url": "https://b"}])).routes
    first, second = (route.target.origins[0].tls for route in routes)
    assert first is second is not None


@pytest.mark.parametrize(
    ("settings", "setting", "says"),
    [
        ({}, "upstream", "no upstream"),
        ({"upstream": "ftp://a"}, "upstream", "scheme"),
        ({"upstream": "grpc://a"}, "upstream", "HTTP/2 and gRPC upstreams are not supported"),
        ({"upstreams": [{"url": "h2c://a"}]}, "upstreams[0].url", "HTTP/2 and gRPC upstreams"),
        ({"upstreams": [{"url": "http://a/b"}]}, "upstreams[0].url", "path"),
        ({"upstreams": [{"urls": ["http://a", "b"]}]}, "upstreams[0].urls[1]", "scheme"),
        ({"upstreams": [{"urls": ["http://a", "http://A:80"]}]}, "upstreams[0].urls[1]", "twice"),
        ({"upstreams": [{"url": "http://a", "prefix": "/a/"}]}, "upstreams[0].prefix", "slash"),
        ({"upstreams": [{"url": "http://a"}], "upstream": "http://b"}, "upstream", "upstreams[0]"),
        ({"upstreams": [{"url": "http://a"}, {"url": "http://b"}]}, "upstreams[1]", "upstreams[0]"),
        ({"upstreams": [{"url": "http://a", "ca": __file__}]}, "upstreams[0].ca", "not all URLs"),
        ({"upstreams": [{"url": "https://a", "ca": __file__}]}, "upstreams[0].ca", "no PEM certificate"),
        (
            {"upstreams": [{"url": "https://a", "certificate": __file__}]},
            "upstreams[0].certificate",
            "no PEM certificate with its key",
        ),
        ({"upstreams": [{"url": "https://a"}], "upstream_ca": __file__}, "upstream_ca", "no PEM certificate"),
        (
            {"upstreams": [{"url": "http://a"}], "upstream_ca": __file__},
            "upstream_ca",
            "no upstream is https",
        ),
    ],
)
def test_an_upstream_that_cannot_be_called_is_refused_by_its_place(
    settings: dict[str, Any], setting: str, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)) as refused:
        create_proxy(load(**settings))
    assert refused.value.setting == setting
    assert refused.value.hint


def test_one_row_for_everything_is_the_upstream() -> None:
    assert repr(create_proxy(load(upstreams=[{"url": "https://a:444"}]))) == "RoutedProxy('https://a:444')"


@pytest.mark.parametrize("name", list(UpstreamSettings.model_fields))
def test_every_setting_of_an_upstream_is_documented(name: str) -> None:
    row = f"| `{name}` | {UpstreamSettings.model_fields[name].description} |"
    assert row in (DOCS / "upstreams.md").read_text().splitlines()


def test_the_example_of_the_document_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    example = re.findall(r"```yaml\n(.*?)```", (DOCS / "upstreams.md").read_text(), re.DOTALL)[0]
    monkeypatch.setenv("SCOPEGATE_CONFIG", str(tmp_path / "settings.yaml"))
    (tmp_path / "settings.yaml").write_text(re.sub("    ca: .*\n", "", example))
    routes = create_routes(load())
    billing = routes.choose("billing.example.com", "/v1/invoices")
    media = routes.choose("api.example.com", "/media/a")
    rest = routes.choose("api.example.com", "/mediatheque")
    assert billing
    assert media
    assert rest
    assert (billing[0].target.name, billing[1]) == ("https://billing.internal:8443", "/v1/invoices")
    assert (media[0].target.name, media[1]) == ("http://10.0.0.1:9000, http://10.0.0.2:9000", "/a")
    assert (rest[0].target.name, rest[1]) == ("http://127.0.0.1:9000", "/mediatheque")
