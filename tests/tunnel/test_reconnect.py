"""How long a tunnel waits before it starts COMMAND again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fethpipe.tunnel.reconnect import Backoff
from tests import strategies as ours  # noqa: F401 - the profile of all property tests


def test_pauses_double_up_to_a_minute() -> None:
    backoff = Backoff()
    assert [backoff.next(lasted=0) for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_run_of_a_minute_starts_over() -> None:
    backoff = Backoff()
    assert [backoff.next(lasted=lasted) for lasted in (0, 59.9, 60, 0)] == [1, 2, 1, 2]


@given(st.lists(st.floats(0, 1e6)))
def test_no_pause_is_shorter_than_a_second_or_longer_than_a_minute(runs: list[float]) -> None:
    backoff = Backoff()
    assert all(1 <= backoff.next(lasted=lasted) <= 60 for lasted in runs)
