"""Who failed several times in a row is left alone, but for a question now and then."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scopegate.core.breaker import Breaker

PAUSE = 2.0


def breaker(failures: int = 3) -> Breaker:
    return Breaker(failures=failures, pause=PAUSE)


def opened(at: float = 0.0) -> Breaker:
    made = breaker()
    for _ in range(3):
        assert made.admits(at)
        made.failed(at)
    return made


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    made = opened()
    assert not made.is_closed
    assert not made.admits(0.0)
    assert not made.admits(PAUSE - 0.01)


def test_a_success_between_failures_keeps_it_closed() -> None:
    made = breaker()
    for _ in range(10):
        made.failed(0.0)
        made.failed(0.0)
        made.succeeded()
    assert made.is_closed


def test_after_the_pause_one_question_is_let_through() -> None:
    made = opened()
    assert made.admits(PAUSE)
    assert not made.admits(PAUSE)
    assert not made.admits(2 * PAUSE - 0.01)


def test_the_first_success_closes_it_and_counting_begins_anew() -> None:
    made = opened()
    assert made.admits(PAUSE)
    made.succeeded()
    assert made.is_closed
    made.failed(PAUSE)
    made.failed(PAUSE)
    assert made.admits(PAUSE)


def test_a_question_that_fails_while_it_is_open_keeps_it_so_for_another_pause() -> None:
    made = opened()
    assert made.admits(PAUSE)
    made.failed(PAUSE + 0.5)
    assert not made.admits(2 * PAUSE - 0.01)
    assert made.admits(2 * PAUSE)


def test_a_question_of_which_nothing_is_heard_keeps_nobody_out_for_ever() -> None:
    made = opened()
    assert made.admits(PAUSE)
    assert made.admits(2 * PAUSE)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["ask", "succeed", "fail"]), st.floats(0, 3, allow_nan=False)), max_size=60
)


@given(events=EVENTS, failures=st.integers(1, 5))
def test_whatever_happens_it_lets_everybody_or_one_in_each_pause_through(
    events: list[tuple[str, float]], failures: int
) -> None:
    made = breaker(failures)
    now, in_a_row = 0.0, 0
    last: float | None = None  # the moment from which the pause runs, while it is open
    for event, later in events:
        now += later
        if event == "ask":
            expected = last is None or now >= last + PAUSE
            assert made.admits(now) is expected
            if last is not None and expected:
                last = now
        elif event == "succeed":
            made.succeeded()
            in_a_row, last = 0, None
        else:
            made.failed(now)
            in_a_row += 1
            if last is None and in_a_row >= failures:
                last = now
        assert made.is_closed is (last is None)
