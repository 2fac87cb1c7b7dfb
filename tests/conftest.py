"""What tests of all kinds need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from io import FileIO
from typing import Callable, NamedTuple

import pytest


class Pipe(NamedTuple):
    """The two ends of a pipe; each can be closed before its time."""

    reader: FileIO
    writer: FileIO


MakePipe = Callable[[], Pipe]


@pytest.fixture
def make_pipe() -> Iterator[MakePipe]:
    """Make pipes, which are closed after the test."""
    with ExitStack() as stack:

        def make() -> Pipe:
            reading, writing = os.pipe()
            return Pipe(
                stack.enter_context(FileIO(reading, "r")),
                stack.enter_context(FileIO(writing, "w")),
            )

        yield make
