"""Frames on the stdin and stdout of a COMMAND."""

from __future__ import annotations

import re
import signal

import pytest

from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace, require_tools
from tests.live.programs import FETHPIPE, RIGHT, Fethpipe, changed, finish
from tests.live.terminals import open_terminal

pytestmark = pytest.mark.live


def test_a_command_can_be_the_other_end(left: Namespace, right: Namespace) -> None:
    require_tools("nsenter")
    command = ["nsenter", f"--net={right.path}", *FETHPIPE, "--address", f"{RIGHT}/24"]
    with Fethpipe(left, "--address", "10.9.0.1/24", "--", *command).up() as program:
        # Its messages come on our stderr.
        assert program.stderr.next(containing=RIGHT).startswith("fethpipe: fp0 is up, ")
        said = left.run(["ping", "-f", "-q", "-c", "1000", RIGHT])
        assert "1000 received" in said
        said = program.stop()
    assert said.count("fp0: stopped by SIGTERM") >= 1
    left.wait_gone("fp0")
    right.wait_gone("fp0")


def test_frames_go_to_its_stdin_and_come_from_its_stdout(left: Namespace) -> None:
    with Fethpipe(left, "--", "cat").up() as program:
        with PacketSocket(left, "fp0") as device:
            device.send(make_frame(1))
            assert device.receive() == make_frame(1)
        program.stop()


@pytest.mark.parametrize(
    ("script", "status", "message"),
    [
        pytest.param("exit 0", 0, "fp0: the peer closed the stream", id="with success"),
        pytest.param("exit 7", 69, "sh ended with exit status 7", id="with another status"),
        pytest.param("kill -KILL $$", 69, "sh was killed by SIGKILL", id="by a signal"),
        pytest.param("kill -35 $$", 69, "sh was killed by signal 35", id="by a nameless signal"),
        pytest.param(r"printf '\0'", 76, "the stream ended inside a record", id="inside a record"),
        pytest.param(
            r"printf '\0'; exit 255",
            69,
            "sh ended with exit status 255: the stream ended inside a record",
            id="inside a record, with another status",
        ),
        pytest.param(
            "echo Welcome to this machine; exec cat",
            76,
            "the stream is not in u16be framing",
            id="by talking",
        ),
    ],
)
def test_its_end_is_told(left: Namespace, script: str, status: int, message: str) -> None:
    done = finish(left, "--", "sh", "-c", f"echo from the command >&2; {script}").ends(
        status, "from the command\n"
    )
    assert message in done.stderr.splitlines()[-1]
    left.wait_gone("fp0")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        pytest.param("no-such-program", "ENOENT", id="missing"),
        pytest.param("/proc", "EACCES", id="a directory"),
        pytest.param("/etc/passwd", "EACCES", id="a file that is no program"),
    ],
)
def test_a_command_that_does_not_start_is_told(left: Namespace, command: str, reason: str) -> None:
    done = finish(left, "--", command).ends(69)
    assert f"fethpipe: cannot start {command}: {reason}" in done.stderr.splitlines()[-1]
    left.wait_gone("fp0")


def test_it_ends_with_us_even_if_it_does_not_read(left: Namespace) -> None:
    with Fethpipe(left, "--", "sh", "-c", "echo started >&2; exec sleep 1000").up() as program:
        assert program.stderr.next(containing="started")
        program.stop("stopped by SIGTERM")  # and the end of all who have our stderr


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("cat; echo over >&2", id="that reads to the end"),
        pytest.param("echo over >&2; exec sleep 1000", id="that does not read"),
        pytest.param("trap '' TERM; echo over >&2; exec sleep 1000", id="that will not end"),
    ],
)
def test_when_we_are_killed_nothing_is_left_of_a_command(left: Namespace, script: str) -> None:
    launcher = changed("tunnel.launcher _ORPHAN_GRACE_SECONDS = 0.1")
    command = f"echo started >&2; {script}"
    with Fethpipe(left, "--", "sh", "-c", command, launcher=launcher).up() as program:
        assert program.stderr.next(containing="started")
        program.send_signal(signal.SIGKILL)
        program.ends(-signal.SIGKILL, "over\n")  # and the end of all who have our stderr
    left.wait_gone("fp0")


def test_it_gets_the_stream_and_stderr_and_nothing_else(left: Namespace) -> None:
    script = "readlink /proc/self/fd/* >&2; grep SigIgn /proc/self/status >&2"
    done = finish(left, "--", "sh", "-c", script).ends(0)
    held = [line for line in done.stderr.splitlines() if re.match(r"\w+:\[|/", line)]
    assert [line.split(":")[0] for line in held] == ["pipe", "pipe", "pipe"], held
    ignored = re.search(r"SigIgn:\s*([0-9a-f]+)", done.stderr)
    assert ignored is not None
    assert not int(ignored[1], 16) >> (signal.SIGPIPE - 1) & 1


def test_terminals_do_not_matter_when_there_is_a_command(left: Namespace) -> None:
    with open_terminal() as terminal:
        finish(left, "--", "true", stdin=terminal, stdout=terminal).ends(0)


def test_standard_descriptors_may_all_be_closed(left: Namespace) -> None:
    left.make_tap()
    closing = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *FETHPIPE]
    with Fethpipe(left, "--attach", "fp0", "--", "cat", launcher=closing).up() as program:
        with PacketSocket(left, "fp0") as device:
            device.send(make_frame(1))
            assert device.receive() == make_frame(1)
        program.send_signal(signal.SIGTERM)
        assert program.end() == (0, "")


def test_an_echo_is_told(left: Namespace) -> None:
    with Fethpipe(left, "--", "cat").up() as program:
        assert program.stderr.next(containing="it is an echo")
        said = program.stop()
    assert said.count("it is an echo") == 1
    assert "connected" not in said
