"""Tokens of administrators: how they are spelled, proved, and how long they live."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate.core import admintokens, keys
from scopegate.core.admintokens import AdminToken, TokenKind, mint, proves, read, require_expiry
from scopegate.core.errors import InvalidInput

NOW = datetime(2100, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
PEPPER = b"a pepper that is long enough to be one"


def token(text: str, **changes: Any) -> AdminToken:
    token_id, digest = read(text, pepper=None)
    fields: dict[str, Any] = {
        "id": token_id,
        "kind": TokenKind.TOKEN,
        "administrator": "maria",
        "digest": digest,
        "description": "of the tests",
        "created_at": NOW,
        "expires_at": NOW + DAY,
    }
    return AdminToken(**(fields | changes))


def minted(seed: int = 1) -> keys.KeyText:
    return mint(random.Random(seed).choice)


def test_a_token_is_spelled_as_no_key_can_be() -> None:
    text = minted().text
    assert text.startswith("adm_")
    assert len(text) == len("adm_") + 12 + 1 + 32 + 6
    assert keys.parse(text) is None
    with pytest.raises(InvalidInput):
        keys.require_prefix("adm")


def test_a_token_is_read_as_it_was_minted() -> None:
    one = minted()
    assert read(one.text, pepper=None) == (one.id, keys.digest(one))
    assert read(one.text, pepper=PEPPER) == (one.id, keys.digest(one, pepper=PEPPER))
    assert one.text not in repr(one)


@given(st.text(alphabet=st.characters(codec=None), max_size=80))
def test_what_is_no_token_is_nobodys(text: str) -> None:
    token_id, digest = read(text, pepper=None)
    assert token_id.startswith("-")
    assert digest.startswith("-")
    assert not proves(digest, None, NOW)


@given(st.integers(0, 54), st.sampled_from(keys.BASE62))
def test_a_token_with_another_character_is_nobodys(place: int, character: str) -> None:
    text = minted().text
    changed = text[:place] + character + text[place + 1 :]
    assert (read(changed, pepper=None)[0] == minted().id) is (changed == text)


def test_a_token_proves_itself_until_it_expires() -> None:
    text = minted().text
    _, digest = read(text, pepper=None)
    record = token(text)
    assert proves(digest, record, NOW)
    assert proves(digest, record, NOW + DAY - timedelta(microseconds=1))
    assert not proves(digest, record, NOW + DAY)
    assert not proves(digest, None, NOW)
    assert not proves(read(minted(2).text, pepper=None)[1], record, NOW)
    assert not proves(read(text, pepper=PEPPER)[1], record, NOW)
    assert digest not in repr(record)


@pytest.mark.parametrize("asked", [None, NOW + timedelta(seconds=1), NOW + 366 * DAY])
def test_a_token_has_an_expiry_within_a_year(asked: datetime | None) -> None:
    assert require_expiry(asked, NOW) == (asked or NOW + 90 * DAY)


@pytest.mark.parametrize(
    "asked",
    [NOW, NOW - DAY, NOW + 366 * DAY + timedelta(microseconds=1), datetime(2100, 2, 1)],  # noqa: DTZ001 -- that is the case
)
def test_any_other_expiry_is_refused_with_the_fix(asked: datetime) -> None:
    with pytest.raises(InvalidInput) as refused:
        require_expiry(asked, NOW)
    assert refused.value.field == "expires_at"
    assert refused.value.hint


def test_the_reserved_prefix_is_the_tokens_own() -> None:
    assert admintokens.PREFIX == "adm"
