"""What tests of all kinds need: pipes, network namespaces, a simulated Mac, a shell."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Callable, NamedTuple

import pytest

from tests.darwin.inside import Inside
from tests.darwin.simulation import SimulatedDarwin, missing_requirement
from tests.ledgers import hide_ledgers
from tests.live.netns import Namespace, require_kernel, require_tools
from tests.live.peer import Peer
from tests.live.private import Private
from tests.live.shell import Shell

NOBODY = 65534


def pytest_configure() -> None:
    """Do this in each process that runs tests."""
    hide_ledgers()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):  # nohup(1) and "&" ignore them
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


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


@pytest.fixture
def left() -> Iterator[Namespace]:
    """A network namespace; nothing in it sends frames of its own accord."""
    with Namespace() as namespace:
        yield namespace


@pytest.fixture
def right() -> Iterator[Namespace]:
    """Another such namespace."""
    with Namespace() as namespace:
        yield namespace


@pytest.fixture
def peer() -> Iterator[Peer]:
    """The other end of a stream."""
    with Peer() as peer:
        yield peer


@pytest.fixture
def private(left: Namespace) -> Iterator[Private]:
    """A machine of the left namespace's own."""
    with Private(left) as private:
        yield private


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell for the recipes of the documents."""
    require_kernel()
    require_tools("bash", "unshare", "mount")
    shell = Shell(tmp_path)
    yield shell
    shell.close()
    for file in tmp_path.glob("*.pid"):  # daemons are in no process group of the shell's
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(file.read_text()), signal.SIGTERM)


@pytest.fixture
def release() -> str:
    """The release of Darwin; tests of others parametrize it."""
    return "23.4.0"


@pytest.fixture
def darwin(left: Namespace, release: str) -> Iterator[SimulatedDarwin]:
    """A Mac in the left namespace. At the end, nothing wrong was done there; a test that does it on
    purpose clears the list.
    """
    missing = missing_requirement()
    if missing is not None:
        pytest.skip(missing)
    with SimulatedDarwin(release, namespace=left.path) as darwin:
        yield darwin
        assert darwin.violations() == []


@pytest.fixture
def inside(darwin: SimulatedDarwin, left: Namespace) -> Iterator[Inside]:
    """A process of root's on the Mac."""
    with Inside(darwin, left.path) as inside:
        yield inside


@pytest.fixture
def nobody() -> int:
    """A user that a program of root can become."""
    maps = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    if not any(int(first) <= NOBODY < int(first) + int(count) for first, _, count in maps):
        pytest.skip("this user namespace has no second user to become")
    return NOBODY
