"""A stolen pump gets nowhere: every way up that was ever found, tried on a running tunnel."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.attacks import outcome, stolen
from tests.live.netns import Namespace
from tests.live.private import USER, Private
from tests.live.programs import Fethpipe

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux"),
    pytest.mark.skipif(
        os.uname().machine not in ("x86_64", "aarch64"), reason="needs a filter of system calls"
    ),
]

SPEAKING = ("--", "sh", "-c", "printf '\\0\\0'; exec cat")
"""A COMMAND whose first bytes are what the pump is taken over by."""
TOUCHED = "/run/touched"


@pytest.fixture
def private(left: Namespace) -> Iterator[Private]:
    with Private(left) as private:
        yield private


def attack(
    private: Private, code: str, *options: str, python: str = sys.executable
) -> dict[str, str]:
    """Return what came of an attack on a tunnel that root started."""
    launcher = private.entering(python, *stolen(code))
    with Fethpipe(private.namespace, *options, *SPEAKING, launcher=launcher) as program:
        results = outcome(program)
        program.send_signal(signal.SIGKILL)
        program.end()
    return results


# ---- a program, a debugger, a socket ----

_ELSEWHERE = """
tried("start a program", lambda: os.execv("/bin/sh", ["sh", "-c", "exit"]))
tried("start a program in a child", lambda: subprocess.run(["true"]).returncode)
tried("fork", lambda: os.fork() or os._exit(0))
tried("clone", lambda: call(number["clone"], 0x11, 0, 0, 0, 0) or os._exit(0))
tried("trace the parent", lambda: call(number["ptrace"], 16, os.getppid(), 0, 0))
tried("read the parent", lambda: call(number["process_vm_readv"], os.getppid(), 0, 0, 0, 0, 0))
tried("open a file", lambda: os.open("/etc/passwd", os.O_RDONLY))
tried("open its memory", lambda: os.open("/proc/self/mem", os.O_RDWR))
tried("make a file", lambda: os.open("/tmp/fethpipe-stolen", os.O_CREAT | os.O_WRONLY))
tried("list a folder", lambda: os.listdir("/"))
tried("make a network socket", lambda: socket.socket().fileno())
tried("make a Unix socket", lambda: socket.socket(socket.AF_UNIX).fileno())
tried("make a pair of sockets", lambda: len(socket.socketpair()))
tried("signal the parent", lambda: os.kill(os.getppid(), 0))
tried("signal everybody", lambda: os.kill(-1, 0))
tried("have others signalled", lambda: fcntl.fcntl(0, 8, os.getppid()))
tried("open io_uring", lambda: call(number["io_uring_setup"], 1, 0))
tried("load a BPF program", lambda: call(number["bpf"], 0, 0, 0))
tried("mount", lambda: call(number["mount"], 0, 0, 0, 0, 0))
tried("make a namespace", lambda: call(number["unshare"], 0x10000000))
"""


@pytest.mark.parametrize("options", [(), ("--user", USER)], ids=["as nobody", "as a user"])
def test_it_can_start_open_connect_and_signal_nothing(
    private: Private, options: tuple[str, ...]
) -> None:
    results = attack(private, _ELSEWHERE, *options)
    assert len(results) > 15
    assert set(results.values()) <= {"EPERM"}, results


# ---- a TAP that is an administrator's ----

_KEEP_TAP = """
everywhere("own it", lambda tap: fcntl.ioctl(tap, 0x400454CC, os.getuid()))
everywhere("make it persistent", lambda tap: fcntl.ioctl(tap, 0x400454CB, 1))
everywhere("give it to a group", lambda tap: fcntl.ioctl(tap, 0x400454CE, os.getgid()))
mac = struct.pack("16sH14s", b"fp0", 1, b"\\2stole")
everywhere("change its MAC", lambda tap: fcntl.ioctl(tap, 0x8924, mac))
everywhere("filter its frames", lambda tap: fcntl.ioctl(tap, 0x400454D1, bytes(8)))
everywhere("take its carrier", lambda tap: fcntl.ioctl(tap, 0x400454E2, bytes(4)))
"""


def test_an_attached_tap_stays_its_owners(private: Private, left: Namespace) -> None:
    left.run(["ip", "tuntap", "add", "dev", "fp0", "mode", "tap"])
    before = left.run(["ip", "-d", "link", "show", "fp0"])
    results = attack(private, _KEEP_TAP, "--attach", "fp0")
    assert len(results) == 6
    assert set(results.values()) == {"EPERM"}, results
    assert "user" not in before
    assert "user" not in left.run(["ip", "-d", "link", "show", "fp0"])


# ---- capabilities of a service ----

_AS_SERVICE = "--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin"


def test_the_capabilities_of_a_service_stay_with_nobody(private: Private, left: Namespace) -> None:
    launcher = private.fethpipe_for_user(*private.as_user()[:-1], *_AS_SERVICE)
    command = ("--", "sh", "-c", "echo COMMAND runs >&2; exec cat")
    with Fethpipe(left, "--framing", "zerotier", *command, launcher=launcher) as program:
        pump = program.ready().pid
        assert program.stderr.next(containing="COMMAND runs")
        processes = private.processes()
        (keeper,) = [each for each in processes.values() if each.session == each.pid]
        assert keeper.capabilities  # it may have to change addresses later
        assert len(processes) == 4
        for process in processes.values():
            if process != keeper:
                assert process.capabilities == 0, process
        assert "NoNewPrivs:\t1" in Path(f"/proc/{pump}/status").read_text()
