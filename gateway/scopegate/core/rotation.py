"""Rotation: a key gets a new secret, and the one it had stays valid for a while."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from scopegate.core.errors import Conflict, InvalidInput
from scopegate.core.keys import KeyRecord, KeyState, RetiringSecret, retiring_at, state

if TYPE_CHECKING:
    from datetime import datetime

MAX_OVERLAP = timedelta(days=7)
DEFAULT_OVERLAP = timedelta(hours=24)


def require_overlap(overlap: timedelta) -> timedelta:
    """`overlap` itself, if two secrets may be valid for so long.

    Raises:
        InvalidInput: it is negative, or longer than seven days.
    """
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise InvalidInput(
            "overlap",
            f"The old secret cannot stay valid for that long; {MAX_OVERLAP.days} days are allowed.",
            hint="Choose 0 to 7d, for example 24h.",
            code="overlap_invalid",
        )
    return overlap


def rotated(
    record: KeyRecord, digest: str, *, overlap: timedelta, now: datetime, drop_retiring: bool
) -> KeyRecord:
    """`record` with the secret of `digest`; the one it had is valid for `overlap` from `now` on.

    Only two secrets are ever valid: one that is still retiring from the rotation before is over at once.

    Args:
        drop_retiring: whether that is meant. Otherwise such a key is refused, for somebody may use
            that secret still.

    Raises:
        InvalidInput: as `require_overlap`.
        Conflict: the key has expired, or a secret of it is still retiring.
    """
    require_overlap(overlap)
    if state(record, now) in {KeyState.EXPIRED, KeyState.DELETED}:
        raise has_expired(record)
    if not drop_retiring and retiring_at(record, now) is not None:
        raise Conflict(
            f"The key {record.id} was rotated before, and the secret from before that is still valid.",
            hint="Wait until that is over, or give it up with --yes.",
            code="secret_retiring",
        )
    retiring = RetiringSecret(record.digest, now + overlap) if overlap else None
    return replace(record, digest=digest, retiring=retiring)


def has_expired(record: KeyRecord) -> Conflict:
    """The error that says that a key has expired, so what is asked for would open nothing."""
    return Conflict(
        f"The key {record.id} has expired.",
        hint=f"Extend it first: scopegate key extend {record.id} --expires 90d",
        code="key_expired",
    )
