"""Privileges that are called after scopes: names, and as many of them as scopes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate.core.policies import require_name
from scopegate.core.scopenames import privilege_names


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        ("read:pets", "read:pets"),
        ("admin.apps:read", "admin.apps:read"),
        ("https://www.googleapis.com/auth/drive", "https:-www.googleapis.com-auth-drive"),
        ("urn:x read", "urn:x-read"),
        ("größe.lesen", "gr-e.lesen"),
    ],
)
def test_a_scope_keeps_its_text_as_far_as_a_name_can_have_it(scope: str, name: str) -> None:
    assert privilege_names([scope]) == {scope: name}


def test_scopes_that_would_share_a_name_get_different_ones() -> None:
    named = privilege_names(["a/b", "a b", "a-b"])
    assert named["a-b"] == "a-b"
    assert len(set(named.values())) == 3
    assert all(name.startswith("a-b") for name in named.values())


def test_a_scope_that_is_a_name_keeps_it_from_all_others() -> None:
    named = privilege_names(["a/b", "a-b"])
    assert named["a-b"] == "a-b"
    assert named["a/b"].startswith("a-b-")


def test_a_name_does_not_depend_on_the_order() -> None:
    assert privilege_names(["a/b", "a b"]) == privilege_names(["a b", "a/b", "a b"])


@given(
    st.sets(
        st.text(alphabet=st.sampled_from("ab/- :é\ud800"), max_size=6) | st.text(max_size=200), max_size=12
    )
)
def test_each_scope_has_a_name_of_its_own(scopes: set[str]) -> None:
    named = privilege_names(scopes)
    assert named.keys() == scopes
    assert len(set(named.values())) == len(scopes)
    for name in named.values():
        require_name("privileges", name)
