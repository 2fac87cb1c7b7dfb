"""Network namespaces, and a simulated Mac in one of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.darwin.simulation import SimulatedDarwin, missing_requirement
from tests.live.conftest import left, peer, right
from tests.live.netns import Namespace

__all__ = ["darwin", "left", "peer", "right"]


@pytest.fixture
def darwin(left: Namespace) -> Iterator[SimulatedDarwin]:
    """A Mac in the left namespace, on which nothing wrong is done."""
    missing = missing_requirement()
    if missing is not None:
        pytest.skip(missing)
    with SimulatedDarwin(namespace=left.path) as darwin:
        yield darwin
        assert darwin.violations() == []
