"""QEMU: its stream and socket netdevs, joined to a TAP by a hub, with no guest."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.ethernet import PacketSocket, make_frame
from tests.live.netns import Namespace, require_tools
from tests.live.peer import records
from tests.live.peers import Qemu, check_traffic, unix_socket, wait_reachable
from tests.live.programs import LEFT, RIGHT, Fethpipe

pytestmark = pytest.mark.live

_TAP = "tap,ifname=qemu0,script=no,downscript=no"


@contextmanager
def joined(
    left: Namespace, right: Namespace, netdev: str, address: str, *options: str, mtu: int = 1500
) -> Iterator[tuple[Qemu, Fethpipe]]:
    """Join a fethpipe on the left to a QEMU on the right, by what socat calls its address."""
    require_tools("socat", "nsenter")
    right.make_tap("qemu0", address=RIGHT, mtu=mtu)
    # Only the right namespace can reach its TCP ports; a Unix socket can be reached from anywhere.
    command = ["nsenter", f"--net={right.path}", "socat", "-", address]
    arguments = ["--address", f"{LEFT}/24", "--mtu", str(mtu), *options, "--", *command]
    with Qemu(right, netdev, _TAP) as qemu, Fethpipe(left, *arguments).up() as program:
        yield qemu, program


def _unix(folder: Path) -> tuple[str, str]:
    path = folder / "qemu"
    return f"stream,server=on,addr.type=unix,addr.path={path}", f"UNIX-CONNECT:{path}"


_TCP = "stream,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=5000"
_OLD = "socket,listen=127.0.0.1:5000"
_PORT = "TCP:127.0.0.1:5000,nodelay"


@pytest.mark.parametrize(
    ("netdev", "mtu"),
    [
        pytest.param("unix", 1500, id="stream over a Unix socket"),
        pytest.param("unix", 65521, id="stream over a Unix socket, at the largest MTU"),
        pytest.param(_TCP, 1500, id="stream over TCP"),
        pytest.param(_OLD, 1500, id="socket"),
    ],
)
def test_frames_pass_both_ways(
    left: Namespace, right: Namespace, tmp_path: Path, netdev: str, mtu: int
) -> None:
    netdev, address = _unix(tmp_path) if netdev == "unix" else (netdev, _PORT)
    framing = ["--framing", "u32be"]
    with joined(left, right, netdev, address, *framing, mtu=mtu) as (_, program):
        check_traffic(left, right, mtu=mtu)
        program.stop()


@pytest.mark.parametrize(
    "netdev", ["unix", _TCP, _OLD], ids=["stream over a Unix socket", "stream over TCP", "socket"]
)
def test_a_qemu_that_dies_is_the_end(
    left: Namespace, right: Namespace, tmp_path: Path, netdev: str
) -> None:
    netdev, address = _unix(tmp_path) if netdev == "unix" else (netdev, _PORT)
    with joined(left, right, netdev, address, "--framing", "u32be") as (qemu, program):
        wait_reachable(left, RIGHT)
        qemu.kill()
        program.ends(0, "the peer closed the stream")


def test_the_wrong_framing_is_the_end_and_not_a_hang(
    left: Namespace, right: Namespace, tmp_path: Path
) -> None:
    # QEMU waits for the megabytes that it takes our first four bytes for, up to its buffer of
    # 69632 bytes; then it closes the connection.
    with joined(left, right, *_unix(tmp_path), "--framing", "u16be") as (_, program):
        with PacketSocket(left, "fp0") as device:
            for number in range(60):
                device.send(make_frame(number, size=1500))
        status, _ = program.end()
    assert status in (0, 69)  # as socat takes it


def test_what_others_put_on_the_hub_does_no_harm(
    left: Namespace, right: Namespace, tmp_path: Path
) -> None:
    require_tools("socat")
    netdevs = []
    for name in ("ours", "theirs"):
        netdevs.append(f"stream,server=on,addr.type=unix,addr.path={tmp_path}/{name}")
    framing = ["--framing", "u32be", "--address", f"{LEFT}/24"]
    command = ["socat", "-", f"UNIX-CONNECT:{tmp_path}/ours"]
    right.make_tap("qemu0", address=RIGHT)
    with Qemu(right, *netdevs, _TAP), Fethpipe(left, *framing, "--", *command).up():
        wait_reachable(left, RIGHT)
        with unix_socket(right, tmp_path / "theirs") as theirs, PacketSocket(left, "fp0") as device:
            odd = [make_frame(0)[:size] for size in (1, 6, 13, 14, 15)]
            odd += [make_frame(1, size=size) for size in (1519, 9000, 65535)]
            theirs.sendall(records(*odd, bytes(60), b"\xff" * 60, make_frame(2), prefix=">I"))
            while (frame := device.receive()) != make_frame(2):
                assert frame in odd
        wait_reachable(left, RIGHT)


@pytest.mark.parametrize("junk", [b"\xff" * 64, b"GET / HTTP/1.0\r\n\r\n"], ids=["ones", "text"])
def test_a_length_that_cannot_be_ends_with_a_message(
    left: Namespace, tmp_path: Path, junk: bytes
) -> None:
    require_tools("socat")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        listener.settimeout(10)
        command = ["socat", "-", f"UNIX-CONNECT:{tmp_path}/socket"]
        with Fethpipe(left, "--framing", "u32be", "--", *command) as program:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(junk)
                program.ends(76, "the stream is not in u32be framing")
