"""Which requests a page of ours made, and where a browser may be led."""

from __future__ import annotations

import pytest

from scopegate.core.sameorigin import is_ours, is_own_path

HOST = (b"host", b"admin.example.com")
SITE, ORIGIN = b"sec-fetch-site", b"origin"
OWN = (ORIGIN, b"https://admin.example.com")
FOREIGN = (ORIGIN, b"https://evil.example.com")


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ([HOST, (SITE, b"same-origin")], True),
        ([HOST, (SITE, b"none")], True),
        ([HOST, (SITE, b"same-site")], False),
        ([HOST, (SITE, b"cross-site")], False),
        ([HOST, (SITE, b"SAME-ORIGIN")], False),
        ([HOST, (SITE, b"")], False),
        # What the browser says of the site is above what it says of the origin.
        ([HOST, (SITE, b"cross-site"), OWN], False),
        ([HOST, (SITE, b"same-origin"), FOREIGN], True),
        ([HOST, (SITE, b"same-origin"), (SITE, b"cross-site")], False),
        ([HOST, OWN], True),
        ([HOST, (ORIGIN, b"http://admin.example.com")], True),
        ([HOST, (ORIGIN, b"HTTPS://Admin.Example.com")], True),
        ([HOST, FOREIGN], False),
        ([HOST, (ORIGIN, b"https://admin.example.com.evil.example")], False),
        ([HOST, (ORIGIN, b"https://admin.example.com:8443")], False),
        ([HOST, (ORIGIN, b"null")], False),
        ([HOST, (ORIGIN, b"")], False),
        ([HOST, (ORIGIN, b"admin.example.com")], False),
        ([HOST, (ORIGIN, b"file://admin.example.com")], False),
        ([HOST, OWN, OWN], False),
        ([HOST, HOST, OWN], False),
        ([OWN], False),
        ([HOST], False),
        ([], False),
        # A proxy in front asks for another host than people do.
        ([(b"host", b"10.0.0.5:8081"), (ORIGIN, b"https://public.example.com")], True),
        ([(b"host", b"10.0.0.5:8081"), FOREIGN], False),
    ],
)
def test_only_what_a_browser_says_is_ours_is(headers: list[tuple[bytes, bytes]], *, ours: bool) -> None:
    assert is_ours(headers, public_host="public.example.com") is ours


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("/", True),
        ("/console/keys?state=active#top", True),
        ("/console/keys/https://evil.example.com", True),
        ("", False),
        ("console", False),
        ("//evil.example.com", False),
        ("///evil.example.com", False),
        ("/\\evil.example.com", False),
        ("\\\\evil.example.com", False),
        ("/\t/evil.example.com", False),
        ("/\n/evil.example.com", False),
        (" /console", False),
        ("/con sole", False),
        ("https://evil.example.com", False),
        ("https:evil.example.com", False),
        ("javascript:alert(1)", False),
        ("/\u2215evil.example.com", False),
        ("/" + "a" * 2_000, False),
    ],
)
def test_only_a_path_of_ours_is_led_to(text: str, *, own: bool) -> None:
    assert is_own_path(text) is own
