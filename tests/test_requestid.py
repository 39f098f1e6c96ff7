"""Request ids are what other programs take for a UUID, and sort by time."""

from __future__ import annotations

import time
import uuid

from scopegate.requestid import new_request_id


def test_a_request_id_is_a_uuid_of_version_7_in_its_usual_spelling() -> None:
    for _ in range(1_000):
        text = new_request_id()
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert parsed.version == 7
        assert parsed.variant == uuid.RFC_4122


def test_a_request_id_begins_with_the_moment_in_milliseconds() -> None:
    before = time.time_ns() // 1_000_000
    moment = uuid.UUID(new_request_id()).int >> 80
    assert before <= moment <= time.time_ns() // 1_000_000


def test_every_random_bit_is_drawn() -> None:
    drawn = [uuid.UUID(new_request_id()).int for _ in range(1_000)]
    ever, always = 0, (1 << 128) - 1
    for bits in drawn:
        ever |= bits
        always &= bits
    random_bits = (1 << 76) - 1 & ~(0b11 << 62)
    assert ever & random_bits == random_bits
    assert always & random_bits == 0
    assert len(set(drawn)) == len(drawn)
