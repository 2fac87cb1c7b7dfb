"""``--up`` and ``--down``: who runs them, when, and what they are told."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.live.netns import Namespace, readable
from tests.live.private import UID, USER, Private
from tests.live.programs import LEFT, Fethpipe, changed
from tests.patience import PATIENCE

pytestmark = pytest.mark.live

_ADDRESS = ("--address", f"{LEFT}/24")
_RECORD = r"printf '\0\16aaaaaaaaaaaaaa'"


def say(name: str) -> str:
    """Return a command that tells what it was told."""
    facts = "$FETHPIPE_REASON $FETHPIPE_INTERFACE $FETHPIPE_MTU $FETHPIPE_ADDRESSES $FETHPIPE_PEER"
    return f'echo "{name}: {facts}" >&2'


def test_each_moment_has_its_reason(left: Namespace) -> None:
    script = f"{_RECORD}; read line; exit 5"
    hooks = ("--up", say("up"), "--down", say("down"))
    launcher = changed("tunnel.retry _FIRST_SECONDS = 0.01")
    command = ("--reconnect", "--", "sh", "-c", script)
    with Fethpipe(left, *_ADDRESS, *hooks, *command, launcher=launcher) as program:
        said = [program.stderr.next(containing=f" fp0 1500 {LEFT}/24 sh") for _ in range(3)]
        rest = program.stop()
    assert [line.split()[:2] for line in said] == [
        ["up:", "device"],
        ["up:", "connected"],
        ["down:", "waiting"],
    ]
    assert f"down: end fp0 1500 {LEFT}/24 sh" in rest
    left.wait_gone("fp0")


def test_the_device_is_there_until_down_has_ended(left: Namespace, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    down = f"sleep 0.3; ip -br address show dev fp0 > {seen}"
    with Fethpipe(left, *_ADDRESS, "--down", down, stdin=subprocess.PIPE).up() as program:
        program.stop()
    assert f"{LEFT}/24" in seen.read_text()


def test_down_runs_when_fethpipe_is_killed(left: Namespace) -> None:
    hooks = ("--up", say("up"), "--down", say("down"))
    with Fethpipe(left, *hooks, stdin=subprocess.PIPE) as program:
        assert program.stderr.next(containing="up: device fp0")
        program.send_signal(signal.SIGKILL)
        assert program.stderr.next(containing="down: end fp0")


def test_the_stream_ends_at_once_when_fethpipe_is_killed(left: Namespace) -> None:
    reading, writing = os.pipe()
    hooks = ("--up", say("up"), "--down", "echo down; sleep 60")
    with Fethpipe(left, *hooks, stdin=subprocess.PIPE, stdout=writing) as program:
        os.close(writing)
        assert program.stderr.next(containing="up: device fp0")
        program.send_signal(signal.SIGKILL)
        assert program.stderr.next(containing="down")  # which lasts
        with os.fdopen(reading, "rb") as stream:
            while readable(stream.fileno(), 2):
                if not stream.read1():
                    break
            else:
                pytest.fail("the stream is still open")


def test_one_that_fails_and_one_that_hangs(left: Namespace) -> None:
    launcher = changed("tunnel.hooks HOOK_SECONDS = 0.2")
    hooks = ("--up", "exit 3", "--down", "exec sleep 60")
    with Fethpipe(left, *hooks, stdin=subprocess.PIPE, launcher=launcher).up() as program:
        assert program.stderr.next(containing="--up ended with exit status 3")
        program.send_signal(signal.SIGTERM)
        program.ends(0, "--down did not end within 0.2 s, and was killed", seconds=PATIENCE)


def test_a_user_behind_sudo_runs_them(left: Namespace) -> None:
    with Private(left, sudoers=f"{USER} ALL=(ALL:ALL) NOPASSWD: ALL\n") as private:
        before = [*private.as_user(), "sudo", "-n", "-C", "200"]
        launcher = private.fethpipe_for_user(*before)
        up = 'echo "I am $(id -u)" >&2'
        with Fethpipe(left, "--up", up, stdin=subprocess.PIPE, launcher=launcher) as program:
            assert program.stderr.next(containing="I am ") == f"I am {UID}"
