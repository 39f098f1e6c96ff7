"""What is stored is read whole or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from scopegate.core.errors import UnreadableRecord
from scopegate.core.keys import KeyRecord, KeyType, RetiringSecret, Rule
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
ROTATED = replace(RECORD, retiring=RetiringSecret("old", datetime(2027, 1, 2, tzinfo=UTC)))
USER = User(id="maria", name="Maria", roles=frozenset({"agent"}))


@pytest.mark.parametrize("value", [RECORD, ROTATED, USER], ids=["key", "rotated key", "user"])
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


def test_a_key_that_was_not_rotated_is_stored_as_before_there_was_rotation() -> None:
    assert list(json.loads(encode(RECORD))) == [
        *("id", "tenant", "type", "digest", "description", "created_at", "enabled", "expires_at", "user"),
        "rules",
    ]


@pytest.mark.parametrize(
    "retiring",
    [
        {"digest": "old"},
        {"until": "2027-01-02T00:00:00Z"},
        {"digest": "old", "until": None},
        {"digest": "old", "until": "2027-01-02T00:00:00"},
        {"digest": "old", "until": "2027-01-02T00:00:00Z", "from": "2027-01-01T00:00:00Z"},
        "old",
        None,
    ],
    ids=str,
)
def test_a_retiring_secret_is_read_whole_or_not_at_all(retiring: Any) -> None:
    stored = json.loads(encode(RECORD)) | {"retiring": retiring}
    with pytest.raises(UnreadableRecord):
        decode(json.dumps(stored), KeyRecord)


def test_a_field_of_a_rule_may_be_a_restriction() -> None:
    stored = json.loads(encode(RECORD))
    stored["rules"][0]["query"] = "only=this"
    with pytest.raises(UnreadableRecord):
        decode(json.dumps(stored), KeyRecord)


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"{", b'"x"', b"\xff"])
def test_what_is_no_record_is_none(raw: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        decode(raw, KeyRecord)
