"""COMMAND from its start to its end, with the launcher that sees to both."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import signal
import time
from collections.abc import Iterator, Sequence
from functools import partialmethod
from pathlib import Path

import pytest

from fethpipe.errors import LaunchError, SystemFailureError, TemporaryLaunchError
from fethpipe.system.privileges import Person
from fethpipe.system.signals import describe_status
from fethpipe.tunnel import launcher as launcher_module
from fethpipe.tunnel.command import Command, prepare_command
from fethpipe.tunnel.launcher import GRACE_SECONDS, Launcher
from fethpipe.tunnel.starter import Starter
from tests.patience import PATIENCE


@contextlib.contextmanager
def prepared(
    *argv: str,
    stderr: int | None = None,
    hint: str = "",
) -> Iterator[Command]:
    """Yield a COMMAND; check afterwards that neither a process nor a descriptor is left."""
    before = os.listdir("/dev/fd")
    with contextlib.closing(prepare_command(argv, Starter(), stderr=stderr, hint=hint)) as command:
        launcher = command._launcher
        yield command
    with pytest.raises(ChildProcessError):
        os.waitpid(launcher, os.WNOHANG)
    assert os.listdir("/dev/fd") == before


def script(text: str) -> Sequence[str]:
    return ("sh", "-c", text)


def read_line(command: Command) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        assert select.select([command.read_descriptor], [], [], PATIENCE)[0], "COMMAND is silent"
        chunk = os.read(command.read_descriptor, 1)
        if not chunk:
            break
        line += chunk
    return line


def wait_for_end(process: int) -> None:
    """Wait until a process that need not be a child of ours has ended."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], PATIENCE)[0], f"process {process} did not end"
    finally:
        os.close(descriptor)


needs_pidfd = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open of Linux")


def test_its_stdin_and_stdout_are_the_stream() -> None:
    with prepared("cat") as command:
        command.start()
        os.write(command.write_descriptor, b"through\n")
        assert read_line(command) == b"through\n"
        assert command.finish() == 0
        assert (command.read_descriptor, command.write_descriptor) == (-1, -1)


def test_one_that_cannot_be_started_for_now_may_be_later() -> None:
    if not hasattr(resource, "prlimit"):
        pytest.skip("needs prlimit(2) of Linux")
    with prepared("cat") as command:
        command.start()
        assert command.finish() == 0
        launcher = command._launcher
        limits = resource.prlimit(launcher, resource.RLIMIT_NOFILE)
        resource.prlimit(launcher, resource.RLIMIT_NOFILE, (0, limits[1]))
        with pytest.raises(TemporaryLaunchError, match="cannot start cat: EMFILE"):
            command.start()
        resource.prlimit(launcher, resource.RLIMIT_NOFILE, limits)
        command.start()
        assert command.finish() == 0


def test_a_launcher_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fork)
    before = os.listdir("/dev/fd")
    with pytest.raises(SystemFailureError, match="start the launcher of cat: EAGAIN") as raised:
        prepare_command(["cat"], Starter())
    assert raised.value.status == 71
    assert os.listdir("/dev/fd") == before


@needs_pidfd
def test_a_stop_that_comes_too_late_is_not_for_the_next_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = f"if [ -e {mark} ]; then exec cat; fi; echo $$; touch {mark}"
    with prepared(*script(text)) as command:
        command.start()
        process = int(read_line(command))
        wait_for_end(process)
        assert command.stop() == 0
        command.start()
        os.write(command.write_descriptor, b"through\n")
        assert read_line(command) == b"through\n"
        assert command.finish() == 0


needs_real_time_signals = pytest.mark.skipif(
    not hasattr(signal, "SIGRTMIN"), reason="needs real-time signals"
)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        *(("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", -signal.SIGKILL)),
        pytest.param("kill -35 $$", -35, marks=needs_real_time_signals),
    ],
)
def test_its_status_is_told(text: str, status: int) -> None:
    with prepared(*script(text)) as command:
        command.start()
        assert read_line(command) == b""
        assert command.finish() == status


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "ended with exit status 0"),
        (255, "ended with exit status 255"),
        (-9, "was killed by SIGKILL"),
        (-35, "was killed by signal 35"),  # which has no name
    ],
)
def test_a_status_in_words(status: int, words: str) -> None:
    assert describe_status(status) == words


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("no-such-program", "ENOENT"),
        ("/", "EACCES"),
        ("/etc/passwd", "EACCES"),
        ("a\0b", "embedded null byte"),
    ],
)
def test_what_cannot_be_started_is_told(program: str, why: str) -> None:
    with prepared(program, hint="spell it right") as command:
        for _ in range(2):
            with pytest.raises(LaunchError, match=f"start {program}: {why}.*; spell it right$"):
                command.start()


def test_it_holds_nothing_of_ours() -> None:
    """A copy of any descriptor could keep a stream or a device alive."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    command = prepare_command(script("echo ready; cat"), Starter())
    with open(reader, "rb") as pipe, contextlib.closing(command):
        command.start()
        assert read_line(command) == b"ready\n"
        os.close(writer)
        assert pipe.read() == b""


@pytest.mark.parametrize("number", ["INT", "TERM", "HUP"])
def test_signals_from_the_terminal_end_it_and_not_its_launcher(number: str) -> None:
    with prepared(*script(f"kill -{number} $PPID && kill -{number} $$")) as command:
        command.start()
        assert command.finish() == -signal.Signals[f"SIG{number}"]


def test_closing_twice_is_closing_once() -> None:
    with prepared("cat") as command:
        command.start()
        command.close()
        assert command.read_descriptor == command.write_descriptor == -1


def test_its_environment_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", "a word")
    with prepared(*script('echo "$WORD"')) as command:
        command.start()
        assert read_line(command) == b"a word\n"


def test_another_user_gets_a_home_of_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", "a word")
    person = Person("somebody", 1234, 1234, (1234,), "/home/somebody", "/bin/sh")
    environment = Starter(person).environment()
    assert (environment["WORD"], environment["HOME"]) == ("a word", person.home)


def test_its_stderr_is_what_it_was_given() -> None:
    reader, writer = os.pipe()
    with prepared(*script("echo complaint >&2"), stderr=writer) as command:
        command.start()
        assert command.finish() == 0
        assert os.read(reader, 100) == b"complaint\n"
    os.close(reader)
    os.close(writer)


def test_it_gets_the_default_signals() -> None:
    with prepared(
        *script("grep SigIgn /proc/self/status; grep SigBlk /proc/self/status")
    ) as command:
        if not os.path.exists("/proc/self/status"):
            pytest.skip("needs /proc of Linux")
        command.start()
        for _ in range(2):
            # Above 31 are those that the C library keeps to itself.
            assert int(read_line(command).split()[1], 16) & 0x7FFFFFFF == 0


def test_it_is_asked_to_end_and_may_tidy_up() -> None:
    tidy = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done"
    with prepared(*script(tidy)) as command:
        command.start()
        assert read_line(command) == b"ready\n"
        started = time.monotonic()
        assert command.stop() == 3
        assert time.monotonic() - started < GRACE_SECONDS


def test_it_is_asked_when_it_does_not_end_by_itself() -> None:
    with prepared("sleep", "1000") as command:
        command.start()
        started = time.monotonic()
        assert command.finish(0.2) == -signal.SIGTERM
        assert 0.2 <= time.monotonic() - started < GRACE_SECONDS


def test_it_is_killed_when_it_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    grace = 0.3
    monkeypatch.setattr(Launcher, "_stop", partialmethod(Launcher._stop, grace=grace))
    deaf = "trap '' TERM HUP INT; echo ready; while :; do sleep 0.01; done"
    with prepared(*script(deaf)) as command:
        command.start()
        assert read_line(command) == b"ready\n"
        started = time.monotonic()
        assert command.stop() == -signal.SIGKILL
        assert grace <= time.monotonic() - started < GRACE_SECONDS


@needs_pidfd
def test_it_gets_less_time_when_nobody_is_left_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher_module, "_ORPHAN_GRACE_SECONDS", 0.1)
    deaf = "trap '' TERM HUP INT; echo $$; while :; do sleep 0.01; done"
    with prepared(*script(deaf)) as command:
        command.start()
        process = int(read_line(command))
        started = time.monotonic()
        command.close()  # as the kernel does for a pump that was killed
        assert time.monotonic() - started < GRACE_SECONDS
        wait_for_end(process)


@needs_pidfd
@pytest.mark.parametrize("ending", ["finish", "stop", "close"])
def test_it_does_not_outlive_a_launcher_that_is_killed(ending: str) -> None:
    deaf = "trap '' TERM HUP INT; echo $$ $PPID; while :; do sleep 0.01; done"
    with prepared(*script(deaf)) as command:
        command.start()
        process, launcher = map(int, read_line(command).split())
        os.kill(launcher, signal.SIGKILL)
        wait_for_end(launcher)
        if ending != "close":
            with pytest.raises(LaunchError, match="has gone"):
                getattr(command, ending)()
        command.close()
        wait_for_end(process)
