"""Request ids: UUIDv7 (RFC 9562 section 5.7), so that they sort by time."""

from __future__ import annotations

import random
import time


def new_request_id() -> str:
    """A new UUIDv7 in its usual spelling."""
    milliseconds = time.time_ns() // 1_000_000
    # An id is no secret; that it is unique is enough, and every process draws from a state of its own.
    bits = random.getrandbits(74)
    return "%08x-%04x-7%03x-%04x-%012x" % (  # noqa: UP031 -- the fastest way to print five numbers
        milliseconds >> 16,
        milliseconds & 0xFFFF,
        bits >> 62,
        0x8000 | bits >> 48 & 0x3FFF,  # the variant of RFC 9562 section 4.1
        bits & 0xFFFF_FFFF_FFFF,
    )
