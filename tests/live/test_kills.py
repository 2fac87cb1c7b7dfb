"""Nothing is left of a tunnel, in every way to start one, whatever is killed at any moment."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from fethpipe.keeper.dhcp import CLIENTS, SEARCH_PATH
from tests.live.ethernet import make_frame
from tests.live.netns import Namespace
from tests.live.peer import Peer, records
from tests.live.private import (
    USER,
    Private,
    command_lines,
    let_others_in,
    pids_in,
    wait_for_process,
)
from tests.live.programs import FETHPIPE, Fethpipe, changed, on_mac
from tests.live.sshd import Sshd, join
from tests.live.test_ssh import arguments
from tests.vmnet.framework import MacWithVmnet, missing_requirement

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux, and pidfd_open"),
]

AT_ONCE = 10.0
"""Seconds after which nothing may be left, on a busy machine too; on an idle one 2 are enough."""
_SUDOERS = f"{USER} ALL=(ALL:ALL) NOPASSWD: ALL\n"
_RECONNECT = changed("tunnel.retry _FIRST_SECONDS = 0.05")
_FRAMES = records(*map(make_frame, range(2000)))


class Way(NamedTuple):
    """A way to start a tunnel, and the namespaces that its processes are in."""

    namespaces: Sequence[Namespace]
    launcher: Sequence[str]
    arguments: Sequence[str]


_WAYS = (
    *("TAP", "COMMAND", "--reconnect", "through sudo", "as root by sudo", "--ssh", "vmnet"),
    "--dhcp --up",
)


@pytest.fixture(params=_WAYS)
def way(left: Namespace, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Way]:
    let_others_in(tmp_path)
    (tmp_path / "frames").write_bytes(_FRAMES)
    with contextlib.ExitStack() as stack:
        if request.param == "--ssh":
            right = stack.enter_context(Namespace())
            join(left, right)
            sshd = stack.enter_context(Sshd(right))
            yield Way((left, right), FETHPIPE, arguments(sshd))
            return
        private = stack.enter_context(Private(left, sudoers=_SUDOERS))
        command = ["--", "sh", "-c", f"cat {tmp_path}/frames; exec cat"]
        as_user = private.as_user()
        if request.param == "TAP":
            launcher, command = private.fethpipe("setsid"), []
        elif request.param == "COMMAND":
            launcher = private.fethpipe("setsid")
        elif request.param == "--reconnect":
            launcher = private.entering(*_RECONNECT)
            command = ["--reconnect", "--", "sh", "-c", "sleep 0.1"]
        elif request.param == "--dhcp --up":
            if not any(shutil.which(each.name, path=SEARCH_PATH) for each in CLIENTS):
                pytest.skip("needs a DHCP client")
            launcher = private.fethpipe("setsid")
            command = ["--dhcp", "--up", "sleep 0.1", "--down", "sleep 0.1", *command]
        elif request.param == "through sudo":
            launcher = private.fethpipe_for_user(*as_user)
        elif request.param == "as root by sudo":
            launcher = private.fethpipe_for_user(*as_user, "sudo", "-n", "-C", "200")
        else:
            if missing := missing_requirement():
                pytest.skip(missing)
            mac = stack.enter_context(MacWithVmnet(left.path))
            launcher = private.fethpipe("setsid", *on_mac(mac, "env"))
            command = ["--device", "vmnet", *command]
        yield Way((left,), launcher, command)
        # A killed keeper of vmnet leaves the file of an identifier, which the next start removes.
        _time_start(Way((left,), launcher, command))
        assert private.runtime_files() == []


def test_nothing_is_left_of_a_tunnel_of_which_any_process_is_killed(way: Way, count: int) -> None:
    random = Random(count)
    before = {pid for namespace in way.namespaces for pid in pids_in(namespace)}
    interfaces = [namespace.interfaces() for namespace in way.namespaces]
    reached = []
    unit = _time_start(way)
    for turn in range(count):
        with _started(way) as program:
            started = time.monotonic()
            due = started + unit * random.uniform(0, 1.6)
            ready = program.is_ready(due - started)
            taken = time.monotonic() - started
            unit = taken if ready else max(unit, taken)  # how busy the machine is changes
            reached.append(ready)
            program.ended_by(due)
            found = {pid for each in way.namespaces for pid in pids_in(each)} - before
            if turn % 10 == 4:
                victim = "nobody, but SIGTERM"
                _end_it(program)
            else:
                victim = _kill_some(program, sorted(found), random)
                if not program.ended_by(time.monotonic() + 0.05):
                    program.send_signal(signal.SIGTERM)  # it has not lost what it needs
            _wait_as_before(way, before, interfaces, victim)
    # If there are only a few, all may be too early or too late on a busy machine.
    assert count < 100 or count / 10 <= sum(reached) <= count * 9 / 10


def _end_it(program: Fethpipe) -> None:
    """End it by SIGTERM, and check that it ends well, if it had begun and is not sudo."""
    program.send_signal(signal.SIGTERM)
    status, said = program.end()
    assert status in (0, -signal.SIGTERM, 128 + signal.SIGTERM), said
    assert "Traceback" not in said


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    counts = [5, pytest.param(140, marks=pytest.mark.exhaustive)]
    metafunc.parametrize("count", counts)


@contextlib.contextmanager
def _started(way: Way) -> Iterator[Fethpipe]:
    namespace, *_ = way.namespaces
    with Peer() as peer, peer.start(namespace, *way.arguments, launcher=way.launcher) as program:
        yield program


def _time_start(way: Way) -> float:
    """Return how many seconds a start takes here and now."""
    started = time.monotonic()
    with _started(way) as program:
        program.ready()
        taken = time.monotonic() - started
        program.send_signal(signal.SIGTERM)
        program.end()
        return taken


def _kill_some(program: Fethpipe, found: Sequence[int], random: Random) -> str:
    """Kill one of these processes, or several at once; return which."""
    lines = command_lines(found)
    # A sudo that is killed cannot end the program that it runs, whatever that is.
    found = [pid for pid in found if not lines[pid].startswith("sudo ")]
    kind = random.choice(["one"] * 7 + ["two", "all", "group"])
    victims = random.sample(found, min(len(found), {"one": 1, "two": 2}.get(kind, len(found))))
    if kind == "group":
        with contextlib.suppress(ProcessLookupError):  # not every program leads a group
            os.killpg(program.pid, signal.SIGKILL)
            return "the whole group"
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    return " and ".join(lines[victim] for victim in victims)


def _wait_as_before(
    way: Way, before: set[int], interfaces: Sequence[Sequence[str]], killed: str
) -> None:
    """Wait until neither a process nor an interface is there that was not there before."""
    deadline = time.monotonic() + AT_ONCE
    while left := {pid for each in way.namespaces for pid in pids_in(each)} - before:
        for pid in left:
            try:
                wait_for_process(pid, deadline)
            except AssertionError as error:
                raise AssertionError(f"{error}, after the end of {killed}") from error
    for namespace, expected in zip(way.namespaces, interfaces):
        namespace.wait_until(
            lambda: namespace.interfaces() == expected,  # noqa: B023 - called at once
            f"an interface is left after the end of {killed}",
            max(0.0, deadline - time.monotonic()),
        )
