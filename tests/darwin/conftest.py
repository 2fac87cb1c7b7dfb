"""A network namespace, a simulated Mac and programs on it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.darwin.client import Program
from tests.darwin.simulation import SimulatedDarwin, missing_requirement

NOBODY = 65534


@contextmanager
def new_namespace() -> Iterator[str]:
    missing = missing_requirement()
    if missing is not None:
        pytest.skip(missing)
    command = ["unshare", "-n", "sh", "-c", "echo && read line"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"\n":
            pytest.skip("the simulated Darwin kernel needs the right to make network namespaces")
        yield f"/proc/{holder.pid}/ns/net"
        holder.communicate(b"\n")


@pytest.fixture
def namespace() -> Iterator[str]:
    """The path of a new network namespace, which goes with the test."""
    with new_namespace() as path:
        yield path


@pytest.fixture
def another_namespace() -> Iterator[str]:
    """One more."""
    with new_namespace() as path:
        yield path


@pytest.fixture
def nobody() -> int:
    """A user that a program of root can become."""
    maps = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    if not any(int(first) <= NOBODY < int(first) + int(count) for first, _, count in maps):
        pytest.skip("this user namespace has no second user to become")
    return NOBODY


@pytest.fixture
def release() -> str:
    """The release of Darwin; tests of others parametrize it."""
    return "23.4.0"


@pytest.fixture
def darwin(namespace: str, release: str) -> Iterator[SimulatedDarwin]:
    """A Mac on which nothing wrong is done: a test that does so clears the list."""
    with SimulatedDarwin(release, namespace=namespace) as darwin:
        yield darwin
        assert darwin.violations() == []


@pytest.fixture
def program(darwin: SimulatedDarwin, namespace: str) -> Iterator[Program]:
    """A program on the Mac, as root."""
    with Program(darwin, namespace) as program:
        yield program
