"""What the upstream hears about the caller, and from whom claims are believed."""

from __future__ import annotations

import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate.core.forwarding import TrustedProxies, accepted_request_id, forwarded_fields

NOBODY = TrustedProxies()
PROXIES = TrustedProxies.parse(["10.0.0.0/8", "2001:db8::/32"])
PROXY = "10.0.0.1"


def told(
    *claims: tuple[str, str],
    client: str | None = PROXY,
    scheme: bytes = b"http",
    host: bytes = b"api.test",
    trusted: TrustedProxies = PROXIES,
) -> dict[str, str]:
    headers = [(b"accept", b"*/*"), *((name.encode(), value.encode("latin-1")) for name, value in claims)]
    fields = forwarded_fields(headers, client=client, scheme=scheme, host=host, trusted=trusted)
    assert len(dict(fields)) == len(fields)
    return {name.decode(): value.decode("latin-1") for name, value in fields}


@pytest.mark.parametrize(
    ("client", "scheme", "host", "forwarded_for", "forwarded"),
    [
        ("192.0.2.1", b"http", b"api.test", "192.0.2.1", "for=192.0.2.1;proto=http;host=api.test"),
        ("192.0.2.1", b"https", b"a:80", "192.0.2.1", 'for=192.0.2.1;proto=https;host="a:80"'),
        ("2001:DB8::1", b"ws", b"[::1]", "2001:db8::1", 'for="[2001:db8::1]";proto=http;host="[::1]"'),
        ("fe80::1%eth0", b"wss", b"a", "fe80::1", 'for="[fe80::1]";proto=https;host=a'),
        ("::ffff:192.0.2.1", b"http", b"a", "192.0.2.1", "for=192.0.2.1;proto=http;host=a"),
        ("192.0.2.1", b"http", b"", "192.0.2.1", "for=192.0.2.1;proto=http"),
        (None, b"http", b"a", None, "for=unknown;proto=http;host=a"),
        ("", b"http", b"a", None, "for=unknown;proto=http;host=a"),
        ("testclient", b"http", b"a", None, "for=unknown;proto=http;host=a"),
    ],
)
def test_the_peer_is_named_as_each_field_spells_it(
    client: str | None, scheme: bytes, host: bytes, forwarded_for: str | None, forwarded: str
) -> None:
    fields = told(client=client, scheme=scheme, host=host, trusted=NOBODY)
    assert fields.get("x-forwarded-for") == forwarded_for
    assert fields["x-forwarded-proto"] == ("https" if scheme in {b"https", b"wss"} else "http")
    assert fields.get("x-forwarded-host", "") == host.decode()
    assert fields["forwarded"] == forwarded


@pytest.mark.parametrize("host", [b"a,b", b'a"', b"a;proto=https", b"a b", b"a\r\nx: y", b"\xe4", b"x" * 300])
def test_a_host_that_could_be_read_in_two_ways_is_not_told(host: bytes) -> None:
    assert told(host=host, client="192.0.2.1") == {
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-proto": "http",
        "forwarded": "for=192.0.2.1;proto=http",
    }


@pytest.mark.parametrize("client", ["192.0.2.1", "::1", None, "", "10.0.0.1.evil", "x"])
@pytest.mark.parametrize("trusted", [NOBODY, PROXIES], ids=repr)
def test_claims_of_a_peer_that_is_not_trusted_are_not_repeated(
    client: str | None, trusted: TrustedProxies
) -> None:
    claims = (
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.test"),
        ("x-real-ip", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6;proto=https;host=evil.test"),
    )
    assert told(*claims, client=client, trusted=trusted) == told(client=client, trusted=trusted)


def test_what_a_trusted_proxy_received_is_kept_and_its_own_address_appended() -> None:
    claims = (
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "2001:DB8::7, 192.0.2.9:4711"),
        ("x-forwarded-proto", "HTTPS"),
        ("x-forwarded-host", "www.test:8443"),
    )
    asked = ';proto=https;host="www.test:8443"'
    assert told(*claims) == {
        "x-forwarded-for": "6.6.6.6, 2001:db8::7, 192.0.2.9, 10.0.0.1",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "www.test:8443",
        "forwarded": ", ".join(
            f"for={node}{asked}" for node in ("6.6.6.6", '"[2001:db8::7]"', "192.0.2.9", "10.0.0.1")
        ),
    }


@pytest.mark.parametrize(
    ("claimed", "believed"),
    [
        ("192.0.2.9", "192.0.2.9"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("unknown, 192.0.2.9", "unknown, 192.0.2.9"),
        ("unknown", "unknown"),
        ("evil, 192.0.2.9", "192.0.2.9"),
        ("6.6.6.6, , 192.0.2.9", "192.0.2.9"),
        ("6.6.6.6, evil", ""),
        ("1.2.3.256", ""),
        ("1.2.3.04", ""),
        ("1.2.3", ""),
        ("::1::", ""),
        ("6.6.6.6\r\nevil: 1", ""),
        ("", ""),
        (", ".join(["6.6.6.6"] + ["192.0.2.9"] * 32), ", ".join(["192.0.2.9"] * 32)),
    ],
)
def test_of_a_chain_only_the_end_without_a_doubt_is_believed(claimed: str, believed: str) -> None:
    assert told(("x-forwarded-for", claimed))["x-forwarded-for"] == ", ".join(filter(None, (believed, PROXY)))


@pytest.mark.parametrize("proto", ["ftp", "https, http", "http s", "", "https\r\n"])
def test_a_scheme_in_doubt_is_not_believed(proto: str) -> None:
    assert told(("x-forwarded-proto", proto))["x-forwarded-proto"] == "http"
    assert told(("x-forwarded-proto", "https"), ("x-forwarded-proto", "https"))["x-forwarded-proto"] == "http"


@pytest.mark.parametrize("host", ["a, b", "a b", "", 'a"', "a:123456", "[::1", "\xe4"])
def test_a_host_in_doubt_is_not_believed(host: str) -> None:
    assert told(("x-forwarded-host", host))["x-forwarded-host"] == "api.test"
    assert told(("x-forwarded-host", "a"), ("x-forwarded-host", "a"))["x-forwarded-host"] == "api.test"


@pytest.mark.parametrize(
    ("claimed", "nodes", "proto", "host"),
    [
        ("for=192.0.2.9;proto=https;host=www.test", "192.0.2.9", "https", "www.test"),
        ('For="[2001:db8::1]:80" ; Proto=HTTPS;host="www.test:80"', "2001:db8::1", "https", "www.test:80"),
        ("for=6.6.6.6;proto=http;host=evil, for=192.0.2.9;proto=https", "6.6.6.6, 192.0.2.9", "https", None),
        ("for=_hidden;by=_us", "unknown", None, None),
        ("proto=https", "unknown", "https", None),
        ("evil, for=192.0.2.9", "192.0.2.9", None, None),
        ('x="a, for=6.6.6.6;proto=https, b", for=192.0.2.9', "192.0.2.9", None, None),
        ("for=6.6.6.6;proto=https;for=7.7.7.7", "", None, None),
        ("for=6.6.6.6;proto=https;", "", None, None),
        ("for=2001:db8::1;proto=https", "", None, None),
        ('for="6.6.6.6\\"";proto=https', "", None, None),
        ("for=evil;proto=https", "", None, None),
        ("for=192.0.2.9;proto=ftp;host=a/b", "", None, None),
        ('for=192.0.2.9;proto=ftp;host="a/b"', "192.0.2.9", None, None),
        ("", "", None, None),
    ],
)
def test_forwarded_is_read_by_its_grammar(
    claimed: str, nodes: str, proto: str | None, host: str | None
) -> None:
    fields = told(("forwarded", claimed))
    assert fields["x-forwarded-for"] == ", ".join(filter(None, (nodes, PROXY)))
    assert fields["x-forwarded-proto"] == (proto or "http")
    assert fields["x-forwarded-host"] == (host or "api.test")


def test_a_proxy_that_writes_x_forwarded_fields_did_not_write_the_others() -> None:
    others = (("forwarded", "for=6.6.6.6;proto=https;host=evil"), ("x-real-ip", "6.6.6.6"))
    for written in (
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "b"),
    ):
        assert told(written, *others) == told(written)
    assert told(("x-real-ip", "192.0.2.9"))["x-forwarded-for"] == "192.0.2.9, 10.0.0.1"
    twice = told(("x-real-ip", "6.6.6.6"), ("x-real-ip", "192.0.2.9"))
    assert twice["x-forwarded-for"] == PROXY


def test_long_claims_are_read_like_short_ones() -> None:
    nodes = ", ".join(["2001:db8:1111:2222:3333:4444:5555:6666"] * 32)
    assert len(nodes) > 1_024
    assert told(("x-forwarded-for", nodes))["x-forwarded-for"] == f"{nodes}, {PROXY}"


@pytest.mark.parametrize(
    ("client", "trusted"),
    [
        ("10.255.0.1", True),
        ("::ffff:10.0.0.1", True),
        ("2001:db8::5", True),
        ("11.0.0.1", False),
        ("2001:db9::5", False),
        ("10.0.0.1/8", False),
        ("", False),
        (None, False),
    ],
)
def test_a_proxy_is_trusted_by_its_network(client: str | None, *, trusted: bool) -> None:
    assert (client in PROXIES) is trusted
    assert client not in NOBODY


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0", "10.0.0.0/33", "unix", "proxy.test", "::1%lo"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        TrustedProxies.parse(["::1", text])


def test_trusted_proxies_are_a_value() -> None:
    copied = pickle.loads(pickle.dumps(PROXIES))
    assert copied == PROXIES != NOBODY
    assert hash(copied) == hash(PROXIES)
    assert PROXY in copied


@pytest.mark.parametrize(
    ("given", "accepted"),
    [
        (["abcd.EF_-01"], True),
        (["a" * 8], True),
        (["a" * 128], True),
        (["a" * 7], False),
        (["a" * 129], False),
        (["a b c d e"], False),
        (["abcdefgh\n"], False),
        (["a" * 8, "a" * 8], False),
        ([], False),
    ],
)
def test_a_request_id_is_a_trusted_proxys_and_plain(given: list[str], *, accepted: bool) -> None:
    headers = [(b"x-request-id", value.encode()) for value in given]
    assert accepted_request_id(headers, PROXY, PROXIES) == (given[0] if accepted else None)
    for client in ("192.0.2.1", None):
        assert accepted_request_id(headers, client, PROXIES) is None
    assert accepted_request_id(headers, PROXY, NOBODY) is None


_VALUES = st.one_of(
    st.binary(max_size=12),
    st.lists(
        st.sampled_from(
            (
                *(
                    b"6.6.6.6",
                    b"[::1]:8",
                    b"::1",
                    b"for=",
                    b"proto=",
                    b"host=",
                    b"https",
                    b"evil",
                    b"unknown",
                ),
                *(b",", b";", b'"', b"\\", b" ", b"\r\n", b"\n", b"\r", b"\0", b"\xff", b"="),
            )
        ),
        max_size=9,
    ).map(b"".join),
)
_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip", b"forwarded"]
        ),
        _VALUES,
    ),
    max_size=4,
)
_CLIENTS = st.one_of(
    st.none(), st.sampled_from(["10.0.0.1", "2001:db8::1", "192.0.2.1", "::1"]), st.text(max_size=5)
)


@given(headers=_HEADERS, client=_CLIENTS, scheme=_VALUES, host=_VALUES)
def test_no_claim_breaks_a_line_or_is_a_strangers(
    headers: list[tuple[bytes, bytes]], client: str | None, scheme: bytes, host: bytes
) -> None:
    fields = forwarded_fields(headers, client=client, scheme=scheme, host=host, trusted=PROXIES)
    for _, value in fields:
        assert re.fullmatch(rb'[A-Za-z0-9._~:;,="\[\] -]+', value)
    assert fields[-1][0] == b"forwarded"
    if client not in PROXIES:
        assert fields == forwarded_fields([], client=client, scheme=scheme, host=host, trusted=NOBODY)
    else:
        assert dict(fields)[b"x-forwarded-for"].split(b", ")[-1] == (client or "").encode()
