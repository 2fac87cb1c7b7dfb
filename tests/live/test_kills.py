"""SIGKILL to any process of a tunnel, in every way to start one, at any moment: nothing is left."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

import pytest

from tests.live.netns import Namespace
from tests.live.peer import Peer
from tests.live.private import USER, Private, command_lines, pids_in, wait_for_process
from tests.live.programs import FETHPIPE, Fethpipe, changed
from tests.live.sshd import Sshd, join
from tests.live.test_ssh import arguments

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux, and pidfd_open"),
]

AT_ONCE = 10.0
"""Seconds after which nothing may be left, on a busy machine too; on an idle one 2 are enough."""
_SUDOERS = f"{USER} ALL=(ALL:ALL) NOPASSWD: ALL\n"
_RECONNECT = changed("tunnel.reconnect _FIRST_SECONDS = 0.05")
_SPEAKING = "head -c 100000 /dev/zero; exec cat"  # empty records


class Way(NamedTuple):
    """A way to start a tunnel, and the namespaces that its processes are in."""

    namespaces: Sequence[Namespace]
    launcher: Sequence[str]
    arguments: Sequence[str]


_WAYS = ("TAP", "COMMAND", "--reconnect", "through sudo", "as root by sudo", "--ssh")


@pytest.fixture(params=_WAYS)
def way(left: Namespace, request: pytest.FixtureRequest) -> Iterator[Way]:
    with contextlib.ExitStack() as stack:
        if request.param == "--ssh":
            right = stack.enter_context(Namespace())
            join(left, right)
            sshd = stack.enter_context(Sshd(right))
            yield Way((left, right), FETHPIPE, arguments(sshd))
            return
        private = stack.enter_context(Private(left, sudoers=_SUDOERS))
        command = ["--", "sh", "-c", _SPEAKING]
        if request.param == "TAP":
            yield Way((left,), private.fethpipe(), [])
        elif request.param == "COMMAND":
            yield Way((left,), private.fethpipe(), command)
        elif request.param == "--reconnect":
            again = ["--reconnect", "--", "sh", "-c", "sleep 0.1"]
            yield Way((left,), private.entering(*_RECONNECT), again)
        elif request.param == "through sudo":
            yield Way((left,), private.fethpipe_for_user(*private.as_user()), command)
        else:
            before = [*private.as_user(), "sudo", "-n", "-C", "200"]
            yield Way((left,), private.fethpipe_for_user(*before), command)


def test_nothing_is_left_of_a_tunnel_of_which_any_process_is_killed(way: Way, count: int) -> None:
    random = Random(count)
    before = {pid for namespace in way.namespaces for pid in pids_in(namespace)}
    interfaces = [namespace.interfaces() for namespace in way.namespaces]
    reached = [_kill_one(way, before, interfaces, random) for _ in range(count)]
    assert any(reached)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    counts = [5, pytest.param(170, marks=pytest.mark.exhaustive)]
    metafunc.parametrize("count", counts)


def _kill_one(
    way: Way, before: set[int], interfaces: Sequence[Sequence[str]], random: Random
) -> bool:
    """Kill a process of a new tunnel, and wait until all is as it was; tell if it was ready."""
    due = time.monotonic() + random.uniform(0, 1)
    namespace, *_ = way.namespaces
    with Peer() as peer, peer.start(namespace, *way.arguments, launcher=way.launcher) as program:
        program.is_ready(due - time.monotonic())
        program.ended_by(due)
        ready = program.is_ready(0)
        found = sorted({pid for each in way.namespaces for pid in pids_in(each)} - before)
        lines = command_lines(found)
        # Who kills sudo leaves the program alone that sudo runs, whatever that is.
        victims = [pid for pid in found if not lines[pid].startswith("sudo ")]
        victim = random.choice(victims) if victims else 0
        if victim:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        if not program.ended_by(time.monotonic() + 0.05):
            _end(program)
        deadline = time.monotonic() + AT_ONCE
        while left := {pid for each in way.namespaces for pid in pids_in(each)} - before:
            for pid in left:
                try:
                    wait_for_process(pid, deadline)
                except AssertionError as error:
                    raise AssertionError(
                        f"{error}, after the end of {lines.get(victim)}"
                    ) from error
        for namespace, expected in zip(way.namespaces, interfaces):
            namespace.wait_until(
                lambda: namespace.interfaces() == expected,  # noqa: B023 - called at once
                "an interface is left",
                max(0.0, deadline - time.monotonic()),
            )
    return ready


def _end(program: Fethpipe) -> None:
    """Ask a tunnel to end that has not lost what it needs."""
    with contextlib.suppress(ProcessLookupError):
        program.send_signal(signal.SIGTERM)
