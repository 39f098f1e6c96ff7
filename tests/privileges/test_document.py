"""What an HTTP source says is read in one way only, or not at all."""

from __future__ import annotations

import json

import pytest

from scopegate.privileges.document import NoSense, read_answer
from scopegate.privileges.source import Answer

SENSE = {
    "active": (
        '{"active": true, "privileges": ["a", "b.c"]}',
        Answer(active=True, privileges=frozenset({"a", "b.c"})),
    ),
    "nothing": ('{"active": true, "privileges": []}', Answer(active=True)),
    "twice the same": (
        '{"active": true, "privileges": ["a", "a"]}',
        Answer(active=True, privileges=frozenset({"a"})),
    ),
    "not active": ('{"active": false}', Answer(active=False)),
    "not active, with privileges": ('{"active": false, "privileges": ["a"]}', Answer(active=False)),
    "other members": ('{"active": true, "privileges": [], "name": {"x": 1}}', Answer(active=True)),
}
NO_SENSE = {
    "nothing": "",
    "no JSON": "active",
    "two documents": '{"active": false}{"active": true, "privileges": []}',
    "a list": "[]",
    "null": "null",
    "empty": "{}",
    "active is missing": '{"privileges": ["a"]}',
    "active is a number": '{"active": 1, "privileges": ["a"]}',
    "active is a text": '{"active": "true", "privileges": ["a"]}',
    "active is null": '{"active": null, "privileges": ["a"]}',
    "active twice": '{"active": false, "active": true, "privileges": ["a"]}',
    "privileges twice": '{"active": true, "privileges": [], "privileges": ["a"]}',
    "a member of a member twice": '{"active": true, "privileges": [], "x": {"y": 1, "y": 2}}',
    "privileges are missing": '{"active": true}',
    "privileges are a text": '{"active": true, "privileges": "a"}',
    "privileges are null": '{"active": true, "privileges": null}',
    "privileges are an object": '{"active": true, "privileges": {"a": true}}',
    "a privilege is a number": '{"active": true, "privileges": ["a", 1]}',
    "a privilege is null": '{"active": true, "privileges": [null]}',
    "a privilege is empty": '{"active": true, "privileges": [""]}',
    "a privilege is a wildcard": '{"active": true, "privileges": ["*"]}',
    "a privilege is an escape": json.dumps({"active": True, "privileges": ["\x1b[31m"]}),
    "a privilege is too long": json.dumps({"active": True, "privileges": ["a" * 101]}),
    "too deep": '{"active": true, "privileges": ' + "[" * 30_000,
    "a lone surrogate": '{"active": true, "privileges": ["\\ud800"]}',
}


@pytest.mark.parametrize("name", SENSE)
def test_what_makes_sense_is_read(name: str) -> None:
    text, answer = SENSE[name]
    assert read_answer(text.encode()) == answer


@pytest.mark.parametrize("name", NO_SENSE)
def test_what_makes_none_is_doubt(name: str) -> None:
    with pytest.raises(NoSense):
        read_answer(NO_SENSE[name].encode())


def test_what_is_not_utf_8_is_doubt() -> None:
    with pytest.raises(NoSense):
        read_answer(b'{"active": true, "privileges": [], "name": "\xff"}')


def test_a_doubt_quotes_nothing_of_the_answer() -> None:
    with pytest.raises(NoSense) as doubt:
        read_answer(b'{"active": true, "privileges": ["sekret value"]}')
    assert "sekret" not in str(doubt.value)
