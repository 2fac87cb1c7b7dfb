"""What cannot be done: one line that says why and what to do, the right status, nothing left."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.live.ethernet import make_frame
from tests.live.netns import Namespace
from tests.live.ordinary import (
    as_nobody,
    with_public_tun_device,
    without_tun_device,
)
from tests.live.peer import Peer, records
from tests.live.programs import FETHPIPE, Finished, finish
from tests.live.terminals import open_terminal

pytestmark = pytest.mark.live


def _refused(done: Finished, status: int, message: str) -> None:
    """Check that fethpipe said one line, this, and nothing on stdout."""
    assert done.stdout == b""
    assert done.stderr.startswith("fethpipe: ")
    assert done.stderr.endswith("\n")
    assert done.stderr.count("\n") == 1, done.stderr
    assert message in done.stderr
    assert done.status == status


def test_many_descriptors_of_the_caller_are_no_obstacle(left: Namespace) -> None:
    crowd = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 2000));"
        "[os.set_inheritable(os.dup(0), True) for _ in range(1100)];"
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    done = finish(left, "--", "true", launcher=[sys.executable, "-c", crowd, *FETHPIPE])
    assert done.status == 0, done.stderr


_USAGE = [
    ("an unknown option", ["--frobnicate"], "unrecognized arguments: --frobnicate"),
    ("a line end in an unknown option", ["--a\nb"], "unrecognized arguments: --a b"),
    ("-- without COMMAND", ["--"], "-- needs a COMMAND after it"),
    ("an unknown framing", ["--framing", "u24"], "--framing: invalid choice: 'u24'"),
    ("an address that is none", ["--address", "10.9.0.256/24"], "--address: '10.9.0.256/24'"),
    ("the MAC of a group", ["--mac", "01:00:5e:00:53:01"], "a multicast address"),
    ("an MTU that is too small", ["--mtu", "67"], "--mtu 67 is out of range"),
    ("an MTU that is too large", ["--mtu", "65522"], "--mtu 65522 is out of range"),
    ("an MTU too small for IPv6", ["--mtu", "1279", "--address", "fd00::1/64"], "1280"),
    ("a name that is too long", ["--name", "sixteen-letters0"], "at most 15 bytes"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), [pytest.param(*row[1:], id=row[0]) for row in _USAGE]
)
def test_wrong_use_is_refused(left: Namespace, arguments: list[str], message: str) -> None:
    _refused(finish(left, *arguments), 64, message)
    assert "fp0" not in left.interfaces()


def test_a_name_that_is_taken(left: Namespace) -> None:
    left.run(["ip", "tuntap", "add", "dev", "fp0", "mode", "tap"])
    _refused(finish(left, "--name", "fp0"), 73, "cannot create TAP fp0: TUNSETIFF: EBUSY")
    assert "fp0" in left.interfaces()


@pytest.mark.parametrize(
    ("setup", "name", "message"),
    [
        pytest.param("", "fp0", "cannot attach to fp0: it does not exist", id="missing"),
        pytest.param("", "lo", "cannot attach to lo: it is not a TAP", id="not a TAP"),
        pytest.param("ip tuntap add dev fp0 mode tun", "fp0", "it is not a TAP", id="a TUN"),
    ],
)
def test_an_interface_that_cannot_be_attached_to(
    left: Namespace, setup: str, name: str, message: str
) -> None:
    if setup:
        left.run(setup.split())
    _refused(finish(left, "--attach", name), 73, message)


def test_an_interface_that_another_program_uses(left: Namespace, peer: Peer) -> None:
    with peer.start(left).up():
        _refused(finish(left, "--attach", "fp0"), 73, "another program has it open")


def test_no_tun_device(left: Namespace) -> None:
    done = finish(left, launcher=[*without_tun_device(), *FETHPIPE])
    _refused(done, 73, "cannot open /dev/net/tun: ENOENT")


def test_a_user_who_may_not_open_the_tun_device(left: Namespace) -> None:
    _refused(finish(left, launcher=as_nobody()), 77, "run as root")


def test_a_user_who_may_open_the_tun_device_and_not_make_a_tap(left: Namespace) -> None:
    done = finish(left, launcher=[*with_public_tun_device(), *as_nobody()])
    _refused(done, 77, "run as root")


@pytest.mark.parametrize("descriptor", [0, 1], ids=["stdin", "stdout"])
def test_a_terminal_is_refused(left: Namespace, descriptor: int) -> None:
    with open_terminal() as terminal:
        redirected = ["sh", "-c", f'exec "$@" {descriptor}<>/proc/self/fd/{terminal}', "sh"]
        done = finish(left, launcher=[*redirected, *FETHPIPE], pass_fds=[terminal])
        _refused(done, 64, f"{('stdin', 'stdout')[descriptor]} is a terminal")


@pytest.mark.parametrize(
    ("redirection", "name"), [("<&-", "stdin"), (">&-", "stdout")], ids=["stdin", "stdout"]
)
def test_a_closed_descriptor_is_refused(left: Namespace, redirection: str, name: str) -> None:
    closing = ["sh", "-c", f'exec "$@" {redirection}', "sh"]
    _refused(finish(left, launcher=[*closing, *FETHPIPE]), 64, f"{name} is closed")


def test_ipv6_where_it_is_off(left: Namespace) -> None:
    done = finish(left, "--address", "fd00:9::1/64")
    _refused(done, 73, "cannot add fd00:9::1/64 to fp0: EACCES")
    left.wait_gone("fp0")


_BANNERS = {
    "a shell's greeting": b"Last login: Sat Nov 21 02:36:00 from example.net\r\n",
    "an error of ssh": b"bash: line 1: fethpipe: command not found\n",
    "text in colour": b"\x1b[1;32mWelcome to this machine\x1b[0m\n",
}


@pytest.mark.parametrize("framing", ["u16be", "u32be", "u16le", "zerotier"])
@pytest.mark.parametrize("banner", _BANNERS.values(), ids=_BANNERS)
def test_text_on_stdin_is_quoted(
    left: Namespace, tmp_path: Path, banner: bytes, framing: str
) -> None:
    text = tmp_path / "text"
    text.write_bytes(banner + records(make_frame(1)))
    with text.open("rb") as stdin:
        done = finish(left, "-q", "--no-hello", "--framing", framing, stdin=stdin.fileno())
    _refused(done, 76, f"the stream is not in {framing} framing")
    assert f"it starts with the text {ascii(banner.decode())[:40]}" in done.stderr
    assert done.stderr.rstrip("\n").isprintable()


def test_a_record_that_is_too_long(left: Namespace, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(bytes.fromhex("0001 0200") + bytes(100))
    with garbage.open("rb") as stdin:
        done = finish(left, "-q", "--framing", "u32be", stdin=stdin.fileno())
    _refused(done, 76, "it announces a record of 66048 bytes, but the maximum is 65613")


def test_a_machine_that_is_short_of_memory_is_told_without_a_traceback(left: Namespace) -> None:
    launcher = ["sh", "-c", 'ulimit -v 30000; exec "$@"', "sh", sys.executable, "-S"]
    # Without site-packages: Python reads those first, and fails with tracebacks of its own.
    done = finish(left, "-m", "fethpipe", "--", "true", launcher=launcher)
    assert "Traceback" not in done.stderr
