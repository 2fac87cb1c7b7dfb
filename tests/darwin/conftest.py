"""A program on the simulated Mac that makes raw system calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.darwin.client import Program
from tests.darwin.simulation import SimulatedDarwin
from tests.live.netns import Namespace


@pytest.fixture
def namespace(left: Namespace) -> str:
    """The path of the network namespace that the Mac is in."""
    return left.path


@pytest.fixture
def program(darwin: SimulatedDarwin, namespace: str) -> Iterator[Program]:
    """A program on the Mac, as root."""
    with Program(darwin, namespace) as program:
        yield program
