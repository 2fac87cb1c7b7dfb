"""How long a tunnel waits before it starts COMMAND again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fethpipe.system.changes import NetworkChanges
from fethpipe.tunnel.retry import Retry


@pytest.fixture
def retry(request: pytest.FixtureRequest) -> Iterator[Retry]:
    changes = NetworkChanges(())
    yield Retry(request.param, changes, tell=lambda _why, _left: None, count_down=lambda _: None)
    changes.close()


@pytest.mark.parametrize(
    ("retry", "pauses"),
    [(10.0, [1, 2, 4, 8, 10, 10]), (3.0, [1, 2, 3, 3]), (0.5, [0.5, 0.5])],
    indirect=["retry"],
)
def test_pauses_double_up_to_the_longest(retry: Retry, pauses: list[float]) -> None:
    assert [retry.next() for _ in pauses] == pauses


@pytest.mark.parametrize("retry", [10.0], indirect=True)
def test_a_far_end_that_got_ready_starts_over(retry: Retry) -> None:
    assert [retry.next(), retry.next()] == [1, 2]
    retry.reset()
    assert [retry.next(), retry.next()] == [1, 2]
