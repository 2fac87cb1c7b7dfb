"""Network namespaces, a simulated Mac in one of them, and a process on that Mac."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ctl.conftest import darwin
from tests.darwin.inside import Inside
from tests.darwin.simulation import SimulatedDarwin
from tests.live.conftest import left, right
from tests.live.netns import Namespace

__all__ = ["darwin", "left", "right"]


@pytest.fixture
def inside(darwin: SimulatedDarwin, left: Namespace) -> Iterator[Inside]:
    """A process of root's on the Mac."""
    with Inside(darwin, left.path) as inside:
        yield inside
