"""What is stored is read whole or not at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from scopegate.core.errors import UnreadableRecord
from scopegate.core.keys import KeyRecord, KeyType, Rule
from scopegate.core.principal import User
from scopegate.store.records import decode, encode

RECORD = KeyRecord(
    id="000aaaaaaaaa",
    tenant="default",
    type=KeyType.CUSTOM,
    digest="d",
    description="d",
    created_at=datetime(2027, 1, 1, tzinfo=UTC),
    user="maria",
    rules=(Rule("GET", "/api/*"),),
)
USER = User(id="maria", name="Maria", roles=frozenset({"agent"}))


@pytest.mark.parametrize("value", [RECORD, USER], ids=["key", "user"])
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert decode(encode(value), type(value)) == value


@pytest.mark.parametrize("field", list(json.loads(encode(RECORD))))
def test_a_record_that_lacks_a_field_may_have_lost_a_restriction(field: str) -> None:
    stored = json.loads(encode(RECORD))
    del stored[field]
    with pytest.raises(UnreadableRecord):
        decode(json.dumps(stored), KeyRecord)


@pytest.mark.parametrize("value", [RECORD, USER], ids=["key", "user"])
def test_a_field_of_another_version_may_be_a_restriction(value: Any) -> None:
    stored = json.loads(encode(value)) | {"networks": ["10.0.0.0/8"]}
    with pytest.raises(UnreadableRecord):
        decode(json.dumps(stored), type(value))


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"{", b'"x"', b"\xff"])
def test_what_is_no_record_is_none(raw: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        decode(raw, KeyRecord)
