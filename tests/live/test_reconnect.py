"""``--reconnect``: when COMMAND is started again, and when it is not."""

from __future__ import annotations

import contextlib
import signal

import pytest

from fethpipe.netif.name import interface_index
from fethpipe.system.changes import NetworkChanges
from tests.live.netns import Namespace
from tests.live.programs import Fethpipe, changed, finish

pytestmark = pytest.mark.live

_QUICKLY = changed("tunnel.retry _FIRST_SECONDS = 0.01")
_ONLY_WHEN_TOLD = changed("tunnel.retry _FIRST_SECONDS = 600", "tunnel.retry _LEAST_SECONDS = 0")
_RECORD = r"printf '\0\16aaaaaaaaaaaaaa'"


def test_a_far_end_that_got_ready_resets_the_pause(left: Namespace) -> None:
    script = f"{_RECORD}; exit 5"
    with Fethpipe(left, "--reconnect", "--", "sh", "-c", script, launcher=_QUICKLY) as program:
        assert program.next_state()["state"] == "device"
        for _ in range(3):
            assert program.next_state()["state"] == "connected"
            waiting = program.next_state()
            assert (waiting["state"], waiting["seconds"]) == ("waiting", 0.01)
            assert waiting["reason"] == "sh ended with exit status 5"


def test_one_that_did_not_doubles_it_up_to_the_longest(left: Namespace) -> None:
    options = ["--reconnect", "0.05", "--", "false"]
    with Fethpipe(left, *options, launcher=_QUICKLY).up() as program:
        seconds = [program.next_state()["seconds"] for _ in range(5)]
    assert seconds == [0.01, 0.02, 0.04, 0.05, 0.05]


def test_a_change_of_the_network_ends_the_pause(left: Namespace) -> None:
    options = ["--reconnect", "600", "--address", "10.9.0.1/24", "--", "false"]
    with Fethpipe(left, *options, launcher=_ONLY_WHEN_TOLD) as program:
        for change in ("tuntap add dev other mode tap", "route add unreachable 10.77.0.0/16"):
            assert program.stderr.next(containing="starting again in 600 s")
            left.run(["ip", *change.split()])
        assert program.stderr.next(containing="starting again in 600 s")


def test_a_signal_ends_the_pause(left: Namespace) -> None:
    options = ["--reconnect", "600", "--", "false"]
    with Fethpipe(left, *options, launcher=_ONLY_WHEN_TOLD) as program:
        for _ in range(3):
            assert program.stderr.next(containing="starting again in 600 s")
            program.send_signal(signal.SIGUSR2)
        assert program.stderr.next(containing="starting again in 600 s")


def test_changes_of_our_own_device_do_not_count(left: Namespace) -> None:
    left.run(["ip", "tuntap", "add", "dev", "ours", "mode", "tap"])
    left.run(["ip", "tuntap", "add", "dev", "other", "mode", "tap"])
    with left.entered():
        changes = NetworkChanges({interface_index("ours")})
    with contextlib.closing(changes):
        for command in (
            "link set ours up",
            "address add 10.9.0.1/24 dev ours",
            "route add 10.8.0.0/16 via 10.9.0.2",
            "link set ours down",
        ):
            left.run(["ip", *command.split()])
            assert not changes.read(), command
        for command in (
            "link set other up",
            "address add 10.7.0.1/24 dev other",
            "route add 10.8.0.0/16 via 10.7.0.2",
            "route add blackhole 10.6.0.0/16",
        ):
            left.run(["ip", *command.split()])
            assert changes.read(), command
            assert not changes.read()


def test_more_changes_than_are_kept_are_a_change(left: Namespace) -> None:
    with left.entered():
        changes = NetworkChanges(())
    with contextlib.closing(changes):
        left.run(["ip", "tuntap", "add", "dev", "other", "mode", "tap"])
        flapping = "for i in $(seq 400); do echo link set other up; echo link set other down; done"
        left.run(["sh", "-c", f"({flapping}) | ip -batch -"])
        assert changes.read()
        assert not changes.read()


def test_what_speaks_another_language_twice_ends_it(left: Namespace) -> None:
    options = ["--reconnect", "--", "sh", "-c", "echo this is no frame at all; cat"]
    done = finish(left, *options, launcher=_QUICKLY).ends(76)
    assert done.stderr.count("starting again") == 1
    assert done.stderr.count("the stream is not in u16be framing") == 2


def test_no_such_command_ends_it(left: Namespace) -> None:
    done = finish(left, "--reconnect", "--", "/no/such/command", launcher=_QUICKLY).ends(
        69, "cannot start /no/such/command: ENOENT"
    )
    assert "starting again" not in done.stderr


def test_a_silent_peer_is_no_reason_to_advise_what_is_on(left: Namespace) -> None:
    script = r"printf '\0\0'; exec sleep 1000"
    options = ["--keepalive", "0.05", "--reconnect", "--", "sh", "-c", script]
    with Fethpipe(left, *options, launcher=_QUICKLY) as program:
        line = program.stderr.next(containing="starting again")
    assert line == "fethpipe: fp0: the peer has been silent for 0.15 s; starting again in 0.01 s"
    finish(left, *options[:2], *options[3:]).ends(75, "--reconnect")
