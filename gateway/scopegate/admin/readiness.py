"""Whether this instance should be sent requests, as a function of what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scopegate.problems import Problem
from scopegate.store.clock import MAX_SKEW

if TYPE_CHECKING:
    from collections.abc import Sequence

_RETRY = ((b"retry-after", b"1"),)
_STORE_UNAVAILABLE = Problem(503, "store_unavailable", "Not ready", "The key store does not answer.", _RETRY)
_PROPAGATION_LAG = Problem(
    503,
    "propagation_lag",
    "Not ready",
    "A worker was not told in time of a change in the key store, so it may decide by what was.",
    _RETRY,
)


class Readiness(NamedTuple):
    """The problem that keeps this instance from being ready, if there is one, and each check."""

    problem: Problem | None
    checks: dict[str, dict[str, object]]


def assess(
    *, store_answers: bool, lags: Sequence[float], skews: Sequence[float], max_lag: float
) -> Readiness:
    """What `lags` and `skews`, in seconds, of the workers that have measured them come to.

    A worker that has measured nothing speaks neither for nor against. A clock that is wrong is a
    warning alone: which of the two clocks it is cannot be told, and every instance measures the same.
    """
    lag, skew = max(lags, default=None), max(skews, key=abs, default=None)
    late = lag is not None and lag > max_lag
    skewed = skew is not None and abs(skew) > MAX_SKEW
    checks: dict[str, dict[str, object]] = {
        "store": {"status": "ok" if store_answers else "fail"},
        "propagation": {
            "status": "fail" if late else "ok",
            "lag_seconds": _rounded(lag),
            "max_lag_seconds": max_lag,
        },
        "clock": {"status": "warn" if skewed else "ok", "skew_seconds": _rounded(skew)},
    }
    if not store_answers:
        return Readiness(_STORE_UNAVAILABLE, checks)
    return Readiness(_PROPAGATION_LAG if late else None, checks)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
