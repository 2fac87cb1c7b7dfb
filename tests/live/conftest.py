"""Namespaces for the tests on a real kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.netns import Namespace, require_kernel
from tests.live.peer import Peer


@pytest.fixture
def left() -> Iterator[Namespace]:
    """A network namespace; nothing in it sends frames of its own accord."""
    require_kernel()
    with Namespace() as namespace:
        yield namespace


@pytest.fixture
def right() -> Iterator[Namespace]:
    """Another such namespace."""
    require_kernel()
    with Namespace() as namespace:
        yield namespace


@pytest.fixture
def peer() -> Iterator[Peer]:
    """The other end of a stream."""
    with Peer() as peer:
        yield peer
