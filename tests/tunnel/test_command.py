"""COMMAND and its launcher, with real programs."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fethpipe.errors import LaunchError
from fethpipe.system.signals import describe_status
from fethpipe.tunnel import launcher
from fethpipe.tunnel.command import Command, prepare_command
from tests.conftest import MakePipe
from tests.patience import PATIENCE

SHORT = 0.01
"""Patience with programs that would never end by themselves."""


@contextmanager
def running(script: str, *arguments: str, stderr: int | None = None) -> Iterator[Command]:
    """Run a shell script as COMMAND; afterwards, no child of ours is left."""
    command = prepare_command(["sh", "-c", script, "sh", *arguments], stderr=stderr)
    try:
        command.start()
        yield command
    finally:
        command.close()
    _check_no_children()


def _check_no_children() -> None:
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def read(descriptor: int) -> bytes:
    """Return what comes next from a descriptor."""
    assert select.select([descriptor], [], [], PATIENCE)[0], "nothing came"
    return os.read(descriptor, 1 << 16)


def test_the_stream_leads_to_its_stdin_and_from_its_stdout() -> None:
    with running("cat") as command:
        os.write(command.write_descriptor, b"frames")
        assert read(command.read_descriptor) == b"frames"


def test_what_it_says_on_stderr_goes_where_it_should(make_pipe: MakePipe) -> None:
    pipe = make_pipe()
    with running("echo words >&2; cat", stderr=pipe.writer.fileno()):
        assert read(pipe.reader.fileno()) == b"words\n"


def test_the_end_of_the_stream_ends_it() -> None:
    with running("cat; exit 7") as command:
        assert command.finish() == 7


def test_it_may_end_by_itself() -> None:
    with running("exit 3") as command:
        assert read(command.read_descriptor) == b""
        assert command.finish() == 3


def test_a_signal_ends_it() -> None:
    with running("kill -KILL $$") as command:
        assert command.finish() == -signal.SIGKILL


@pytest.mark.parametrize("how", ["finish", "stop"])
def test_one_that_does_not_end_is_terminated(how: str) -> None:
    with running("exec sleep 1000") as command:
        status = command.finish(SHORT) if how == "finish" else command.stop()
        assert status == -signal.SIGTERM


def test_one_that_is_asked_to_end_may_answer() -> None:
    with running("trap 'exit 4' TERM; echo ready; while :; do sleep 0.01; done") as command:
        assert read(command.read_descriptor) == b"ready\n"
        assert command.stop() == 4


def test_one_that_refuses_to_end_is_killed_in_the_end(
    make_pipe: MakePipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "_ORPHAN_GRACE_SECONDS", 0.1)
    pipe = make_pipe()
    script = "trap '' TERM; echo ready; exec sleep 1000"
    with running(script, stderr=pipe.writer.fileno()) as command:
        assert read(command.read_descriptor) == b"ready\n"
        pipe.writer.close()
    assert read(pipe.reader.fileno()) == b""  # its end of the pipe is gone, and so is it


def test_it_can_be_started_again() -> None:
    with running("read line; echo $line; exit 5") as command:
        for _ in range(3):
            os.write(command.write_descriptor, b"frames\n")
            assert read(command.read_descriptor) == b"frames\n"
            assert command.finish() == 5
            command.start()


@pytest.mark.parametrize(
    ("program", "why"),
    [
        pytest.param("no-such-program", "ENOENT", id="missing"),
        pytest.param("/", "EACCES", id="a folder"),
        pytest.param("a\0b", "null byte", id="no name at all"),
    ],
)
def test_one_that_cannot_be_started(program: str, why: str) -> None:
    command = prepare_command([program], hint="spell it right")
    try:
        for _ in range(2):  # and the launcher survives it
            with pytest.raises(LaunchError, match=f"^cannot start .*: .*{why}.*; spell it right$"):
                command.start()
    finally:
        command.close()
    _check_no_children()


def test_its_environment() -> None:
    command = prepare_command(["/bin/sh", "-c", "echo $GREETING"], environment={"GREETING": "hi"})
    try:
        command.start()
        assert read(command.read_descriptor) == b"hi\n"
    finally:
        command.close()


def test_it_holds_nothing_of_ours(make_pipe: MakePipe) -> None:
    """A copy of any descriptor could keep a stream or a device alive."""
    pipe = make_pipe()
    os.set_inheritable(pipe.writer.fileno(), True)
    with running("echo ready; cat") as command:
        assert read(command.read_descriptor) == b"ready\n"
        pipe.writer.close()
        assert read(pipe.reader.fileno()) == b""


@pytest.mark.parametrize("number", ["INT", "TERM", "HUP"])
def test_signals_from_the_terminal_end_it_and_not_its_launcher(number: str) -> None:
    with running(f"kill -{number} $PPID && kill -{number} $$") as command:
        assert command.finish() == -signal.Signals[f"SIG{number}"]


def test_when_its_launcher_is_killed_it_does_not_stay(make_pipe: MakePipe) -> None:
    pipe = make_pipe()
    script = "trap '' TERM; read line; kill -KILL $PPID; echo ready; exec sleep 1000"
    with running(script, stderr=pipe.writer.fileno()) as command:
        os.write(command.write_descriptor, b"now\n")
        assert read(command.read_descriptor) == b"ready\n"
        pipe.writer.close()
        with pytest.raises(LaunchError, match="the launcher of sh has gone"):
            command.finish()
        assert read(pipe.reader.fileno()) == b""


def test_closing_twice_is_closing_once() -> None:
    with running("cat") as command:
        command.close()
        assert command.read_descriptor == command.write_descriptor == -1


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "ended with exit status 0"),
        (255, "ended with exit status 255"),
        (-9, "was killed by SIGKILL"),
        (-36, "was killed by signal 36"),  # which has no name
    ],
)
def test_a_status_in_words(status: int, words: str) -> None:
    assert describe_status(status) == words
