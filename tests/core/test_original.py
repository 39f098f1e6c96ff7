"""The request that another proxy asks about: one reading, whoever else claims to know it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.strategies import raw_paths
from scopegate.core.original import Dialect, Original, fields_of_original, original_request
from scopegate.core.reasons import Reason, RequestRefused
from scopegate.core.target import split_target

Fields = list[tuple[bytes, bytes]]

MISSING = Reason.ORIGINAL_MISSING
AMBIGUOUS = Reason.ORIGINAL_AMBIGUOUS
FORWARDED = {
    "x-forwarded-method": "POST",
    "x-forwarded-uri": "/a/b?c=1",
    "x-forwarded-host": "gw.test:8080",
}
ORIGINAL_URI = {"x-original-method": "POST", "x-original-uri": "/a/b?c=1", "host": "gw.test:8080"}
ORIGINAL_URL = {"x-original-method": "POST", "x-original-url": "https://gw.test:8080/a/b?c=1"}
STYLES = {
    "forwarded": (Dialect.FORWARDED, FORWARDED),
    "original uri": (Dialect.ORIGINAL, ORIGINAL_URI),
    "original url": (Dialect.ORIGINAL, ORIGINAL_URL),
}
EXPECTED = Original(b"POST", b"gw.test:8080", b"/a/b", b"c=1")


def fields(*pairs: tuple[str, str], **changes: str | None) -> Fields:
    """Fields as ASGI gives them; `changes` have _ for -, and None takes one away."""
    named = {name.replace("_", "-"): value for name, value in changes.items()}
    kept = [(name, value) for name, value in pairs if name not in named]
    added = [(name, value) for name, value in named.items() if value is not None]
    return [(name.encode(), value.encode("latin-1")) for name, value in (*kept, *added)]


def told(style: str, *more: tuple[str, str], **changes: str | None) -> tuple[Fields, Dialect]:
    dialect, base = STYLES[style]
    host = () if "host" in base else (("host", "asked.test"),)
    return fields(*host, *base.items(), *more, **changes), dialect


def read(headers: Fields, dialect: Dialect, *, method: str = "GET", http_version: str = "1.1") -> Original:
    return original_request(headers, method=method, http_version=http_version, dialect=dialect)


def reason(headers: Fields, dialect: Dialect, **more: str) -> Reason | None:
    try:
        read(headers, dialect, **more)
    except RequestRefused as refused:
        return refused.reason
    return None


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_what_the_proxy_says_is_what_is_asked_about(style: str, method: str) -> None:
    assert read(*told(style), method=method) == EXPECTED


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("method", ["PUT", "post", "OPTIONS", "GETS", "\u20ac"])
def test_a_question_is_a_get_or_is_asked_by_the_method_it_is_about(style: str, method: str) -> None:
    assert reason(*told(style), method=method) is AMBIGUOUS


@pytest.mark.parametrize(
    ("style", "name"),
    [(style, name) for style, (_, base) in STYLES.items() for name in base if name != "host"],
)
def test_a_field_that_the_dialect_needs_is_there_once_and_not_empty(style: str, name: str) -> None:
    value = STYLES[style][1][name]
    key = name.replace("-", "_")
    assert reason(*told(style, **{key: None})) is MISSING
    assert reason(*told(style, **{key: ""})) in {MISSING, AMBIGUOUS}
    assert reason(*told(style, **{key: " \t"})) in {MISSING, AMBIGUOUS}
    assert reason(*told(style, (name, value))) is AMBIGUOUS
    headers, dialect = told(style, **{key: None})
    alias = (key.encode(), value.encode())
    assert reason([*headers, alias], dialect) is AMBIGUOUS
    assert reason([*told(style)[0], alias], dialect) is AMBIGUOUS


CLAIMS = {
    "x-forwarded-method": ("POST", "GET"),
    "x-original-method": ("POST", "post"),
    "x-http-method-override": ("POST", "DELETE"),
    "x-http-method": ("POST", ""),
    "x-method-override": ("POST", "POST, GET"),
    "x-forwarded-host": ("GW.test:8080", "gw.test"),
    "x-original-host": ("gw.test:8080", "evil.test"),
    "x-forwarded-uri": ("/a/b?c=1", "/a/b"),
    "x-original-uri": ("/a/b?c=1", "/a/%62?c=1"),
    "x-original-url": ("http://gw.test:8080/a/b?c=1", "http://evil.test/a/b?c=1"),
    "x-rewrite-url": ("/a/b?c=1", "/admin"),
    "x-envoy-original-path": ("/a/b?c=1", ""),
    "x-http-destinationurl": ("https://GW.TEST:8080/a/b?c=1", "https://gw.test:8080/"),
}


@pytest.mark.parametrize(
    ("style", "name"),
    [(style, name) for style, (_, base) in STYLES.items() for name in CLAIMS if name not in base],
)
def test_whoever_else_claims_to_know_it_has_to_say_the_same(style: str, name: str) -> None:
    same, other = CLAIMS[name]
    if style == "original url" and name == "x-original-uri":
        # Then the host is that of the question itself, so that nobody can choose it by adding a field.
        assert reason(*told(style, (name, same))) is AMBIGUOUS
        assert read(*told(style, (name, same), host="gw.test:8080")) == EXPECTED
    else:
        assert read(*told(style, (name, same))) == EXPECTED
        assert reason(*told(style, (name, same), (name, other))) is AMBIGUOUS
    assert reason(*told(style, (name, other))) is AMBIGUOUS
    headers, dialect = told(style)
    assert reason([*headers, (name.replace("-", "_").encode(), same.encode())], dialect) is AMBIGUOUS


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("name", "value", "passes"),
    [
        (b"x_scopegate_user", b"maria", False),
        (b"x-scopegate_user", b"maria", False),
        (b"x_scopegate_anything", b"x", False),
        (b"x_scopegate_user", b"", True),
        (b"x-scopegate-user", b"maria", True),
        (b"x_forwarded_for", b"192.0.2.1", True),
        (b"x_trace", b"1", True),
        (b"forwarded", b"host=evil.test", True),
        (b"x-forwarded-proto", b"https", True),
        (b"x-forwarded-prefix", b"/api", True),
    ],
)
def test_only_what_the_proxy_replaces_may_look_like_ours(
    style: str, name: bytes, value: bytes, *, passes: bool
) -> None:
    headers, dialect = told(style)
    assert reason([*headers, (name, value)], dialect) is (None if passes else AMBIGUOUS)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("http://gw.test:8080/x?y", (b"/x", b"y")),
        ("HTTPS://GW.TEST:8080/x", (b"/x", b"")),
        ("http://gw.test:8080", (b"/", b"")),
        ("http://evil.test/x", Reason.HOST_MALFORMED),
        ("http://gw.test/x", Reason.HOST_MALFORMED),
        ("http://gw.test:8080@evil.test/x", Reason.HOST_MALFORMED),
        ("*", (b"*", b"")),
    ],
)
def test_a_target_with_a_host_names_the_one_that_is_told(
    target: str, expected: tuple[bytes, bytes] | Reason
) -> None:
    headers, dialect = told("forwarded", x_forwarded_uri=target)
    if isinstance(expected, Reason):
        assert reason(headers, dialect) is expected
    else:
        assert read(headers, dialect)[2:] == expected


@pytest.mark.parametrize(
    "url",
    [
        "/a/b",
        "gw.test/a",
        "ftp://gw.test/a",
        "http:///a",
        "http://gw.test",
        "http://gw.test?x=/a",
        "http://a#/b",
    ],
)
def test_an_original_url_has_a_host_and_a_path(url: str) -> None:
    assert reason(*told("original url", x_original_url=url)) is AMBIGUOUS


def test_beside_an_original_uri_the_question_is_for_the_original_host() -> None:
    assert reason(*told("original uri", host=None)) is Reason.HOST_MALFORMED
    assert reason(*told("original uri", ("host", "b"))) is Reason.HOST_MALFORMED
    assert reason(*told("original uri", host=None), http_version="1.0") is MISSING
    headers, dialect = told("original uri", x_original_url="http://evil.test/a/b?c=1")
    assert reason(headers, dialect) is AMBIGUOUS


def test_the_fields_of_the_original_have_its_host_alone() -> None:
    headers, _ = told("forwarded", ("accept", "*/*"))
    found = fields_of_original(headers, EXPECTED)
    assert [value for name, value in found if name == b"host"] == [EXPECTED.host]
    assert len(found) == len(headers)
    assert (b"accept", b"*/*") in found


_NAMES = [*CLAIMS, "host", "x_forwarded_uri", "x_original_method", "x_scopegate_user", "accept"]
_VALUES = ["GET", "POST", "gw.test", "evil.test", "/a", "/b", "http://gw.test/a", "http://evil.test/a", ""]


@given(
    headers=st.lists(st.tuples(st.sampled_from(_NAMES), st.sampled_from(_VALUES)), max_size=7),
    dialect=st.sampled_from(Dialect),
    style=st.sampled_from(list(STYLES)),
    path=raw_paths(),
)
def test_all_that_is_said_of_an_original_is_the_same(
    headers: list[tuple[str, str]], dialect: Dialect, style: str, path: bytes
) -> None:
    """Whatever the fields, nobody behind us can take one of them for another method, host or target."""
    given_fields = [(name.encode(), value.encode()) for name, value in headers]
    told_fields, _ = told(style)
    told_fields = [(n, path if n in {b"x-forwarded-uri", b"x-original-uri"} else v) for n, v in told_fields]
    everything = [*told_fields, *given_fields]
    try:
        original = read(everything, dialect)
    except RequestRefused:
        return
    for name, value in everything:
        assert name == name.replace(b"_", b"-") or not value or name != b"x_forwarded_uri"
        if b"method" in name:
            assert value == original.method
        elif name in {b"x-forwarded-host", b"x-original-host"}:
            assert value.lower() == original.host.lower()
        elif name.decode() in CLAIMS:
            assert split_target(value.strip(b" \t"), [(b"host", original.host)]) == original[2:]
