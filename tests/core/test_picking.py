"""Picking endpoints for rules."""

from __future__ import annotations

import pytest

from scopegate.core.catalogue import Endpoint
from scopegate.core.keys import Rule
from scopegate.core.picking import is_picked, rules_for, words_of

GET_POST = frozenset({"GET", "POST"})


def endpoint(methods: str, url: str, *privileges: str, summary: str = "") -> Endpoint:
    return Endpoint(frozenset(methods.split(",")), url, frozenset(privileges), summary)


AUDIO = endpoint("GET", "/api/recordings/*/audio", "recordings.listen", summary="Fetch the sound")


@pytest.mark.parametrize(
    ("text", "method", "picked"),
    [
        ("", None, True),
        ("AUDIO", None, True),
        ("sound recordings.listen", None, True),
        ("get audio", None, True),
        ("sound video", None, False),
        ("post audio", None, False),
        ("", "GET", True),
        ("", "HEAD", True),
        ("", "POST", False),
        ("sound", "POST", False),
    ],
)
def test_an_endpoint_is_picked_by_words_and_method(text: str, method: str | None, *, picked: bool) -> None:
    assert is_picked(AUDIO, words_of(text), method) is picked


def test_an_endpoint_of_all_methods_is_picked_by_each() -> None:
    assert is_picked(endpoint("*", "/a"), (), "PATCH")


@pytest.mark.parametrize(
    ("methods", "rules"),
    [
        ("GET", ["GET"]),
        ("GET,POST", ["GET", "POST"]),
        ("*", ["GET", "POST"]),
        ("HEAD", ["GET"]),
        ("DELETE", []),
        ("POST,DELETE", ["POST"]),
    ],
)
def test_rules_open_an_endpoint_as_far_as_they_may_name_its_methods(methods: str, rules: list[str]) -> None:
    assert rules_for(endpoint(methods, "/a/*"), GET_POST) == tuple(Rule(method, "/a/*") for method in rules)
