"""What happens over and over is said now and then, and nothing is forgotten."""

from __future__ import annotations

from scopegate.throttle import Throttle


def test_a_kind_is_spoken_of_once_an_interval_and_the_others_are_counted() -> None:
    now = [100.0]
    throttle = Throttle(10.0, clock=lambda: now[0])
    assert [throttle.due("lost") for _ in range(4)] == [0, None, None, None]
    assert throttle.due("slow") == 0
    now[0] += 9.9
    assert throttle.due("lost") is None
    now[0] += 0.1
    assert throttle.due("lost") == 4
    assert throttle.due("lost") is None
