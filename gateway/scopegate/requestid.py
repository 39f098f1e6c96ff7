"""Request ids: UUIDv7 (RFC 9562 section 5.7), so that they sort by time."""

from __future__ import annotations

import random
import time

_VERSION = 0x7 << 76
_VARIANT = 0x2 << 62
_VERSION_AND_VARIANT = ~((0xF << 76) | (0x3 << 62))


def new_request_id() -> str:
    """A new UUIDv7 in its usual spelling."""
    milliseconds = time.time_ns() // 1_000_000
    # An id is no secret; that it is unique is enough, and every process draws from a state of its own.
    bits = (milliseconds << 80) | random.getrandbits(80)
    text = f"{bits & _VERSION_AND_VARIANT | _VERSION | _VARIANT:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
