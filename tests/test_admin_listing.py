"""Lists a page at a time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate.admin.listing import page
from scopegate.admin.schemas import KeyQuery
from scopegate.core.errors import InvalidInput

ITEMS = st.lists(st.tuples(st.integers(0, 3), st.integers()), unique=True)


def in_order(item: tuple[int, int]) -> list[Any]:
    return list(item)


@given(ITEMS, st.integers(1, 5), st.booleans())
def test_the_pages_together_are_the_list(
    items: list[tuple[int, int]],
    limit: int,
    descending: bool,  # noqa: FBT001 -- hypothesis passes it
) -> None:
    seen: list[tuple[int, int]] = []
    cursor = None
    while True:
        shown, cursor = page(items, KeyQuery(limit=limit, cursor=cursor), in_order, descending=descending)
        seen += shown
        assert len(shown) <= limit
        if cursor is None:
            break
    assert seen == sorted(items, reverse=descending)


def test_what_went_meanwhile_makes_no_item_come_twice_or_never() -> None:
    items = [(at, 0) for at in range(6)]
    _, cursor = page(items, KeyQuery(limit=2), in_order, descending=False)
    left = [item for item in items if item != (1, 0)]  # the last one of the first page
    shown, _ = page(left, KeyQuery(limit=2, cursor=cursor), in_order, descending=False)
    assert shown == [(2, 0), (3, 0)]


def test_a_cursor_belongs_to_its_filters() -> None:
    _, cursor = page([(1, 1), (2, 2)], KeyQuery(limit=1, q="a"), in_order, descending=False)
    page(
        [(1, 1)], KeyQuery(limit=9, q="a", cursor=cursor), in_order, descending=False
    )  # another size is fine
    with pytest.raises(InvalidInput) as caught:
        page([(1, 1)], KeyQuery(limit=1, q="b", cursor=cursor), in_order, descending=False)
    assert caught.value.code == "cursor_filter_mismatch"


@pytest.mark.parametrize("cursor", ["", "x", "....", "bnVsbA", "WzEsMl0", "é", "W10", "MQ"])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        page([(1, 1)], KeyQuery(cursor=cursor), in_order, descending=False)
    assert caught.value.code in {"cursor_invalid", "cursor_filter_mismatch"}


def test_a_cursor_with_a_place_of_another_kind_is_refused() -> None:
    _, cursor = page(["a", "b"], KeyQuery(limit=1), lambda item: [item], descending=False)
    with pytest.raises(InvalidInput):
        page([(1, 1)], KeyQuery(limit=1, cursor=cursor), in_order, descending=False)
