"""What is almost right: requests to a keeper, and sessions of a peer, with something changed."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.live.netns import Namespace, require_kernel
from tests.live.peer import Peer, records
from tests.live.programs import ROOT, Fethpipe
from tests.patience import PATIENCE
from tests.wire.test_offload import TCP, UDP, build, header

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux"),
]

# ---- the keeper ----

_KEEPER = """
import socket, sys
from fethpipe.keeper.root import serve
from fethpipe.system.channel import Channel
serve(Channel(socket.socket(fileno=0)), later="change")
"""
_REQUEST: dict[str, Any] = {
    "do": "provision",
    "kind": "tap",
    "name": "fp0",
    "attach": False,
    "io_unit": None,
    "addresses": ["10.9.0.1/24"],
    "mac": "020000000001",
    "mtu": 1400,
    "metric": None,
    "inject": None,
    "offload": True,
    "vmnet": None,
    "bridge": None,
}
_AT_ONCE = 20
_CHANGE: dict[str, Any] = {"do": "change", "add": ["10.9.1.1/24"], "remove": [], "mtu": None}
_VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 68, 1500, 65521, 65522, 2**31, 2**63, 1.5, "", "x", [], {}),
    *("lo", "other", "fp0", "fp%d", "../x", "\0", "a" * 16, "tap", "feth", "vmnet", "provision"),
    *("change", "destroy", ["10.9.0.2/24"], ["0.0.0.0/0"], ["::/0"], ["fd00::1/64"], ["x"]),
    *("ff" * 6, "02" * 6, ["10.9.1.1/24"] * 65, {"mode": "host"}, [[[[]]]], "\ud800"),
]


@pytest.mark.parametrize("count", [1000, pytest.param(100_000, marks=pytest.mark.exhaustive)])
def test_a_keeper_outlives_all_requests_and_touches_nothing_else(count: int) -> None:
    require_kernel()
    random = Random(count)
    made = left = 0
    with Namespace() as namespace:
        namespace.run(["ip", "link", "add", "other", "type", "veth", "peer", "name", "others"])
        namespace.run(["ip", "address", "add", "192.0.2.1/24", "dev", "other"])
        before = _others(namespace)
        while left < count:
            some = min(500, count - left)
            made += _keep(namespace, random, some)
            assert _others(namespace) == before
            left += some
    assert made  # else nothing of it was almost right


def _others(namespace: Namespace) -> str:
    """Return what there is besides the device."""
    assert "fp" not in namespace.interfaces()
    return namespace.run(["ip", "-d", "address", "show", "dev", "other"])


def _keep(namespace: Namespace, random: Random, count: int) -> int:
    """Have one keeper answer so many requests, and end; return how many it granted."""
    ours, its = socket.socketpair()
    ours.settimeout(PATIENCE)
    granted = 0
    with ours:
        with its:
            keeper = namespace.popen([sys.executable, "-c", _KEEPER], stdin=its.fileno(), cwd=ROOT)
        for _ in range(count // _AT_ONCE):
            payloads = [_mutated(random) for _ in range(_AT_ONCE)]
            ours.sendall(records(*payloads, prefix=">I"))
            for _ in payloads:
                answer = json.loads(_receive(ours))
                assert answer.keys() & {"refused", "error", "device", "done"}, answer
                granted += "device" in answer or "done" in answer
            # A device stays until the keeper ends, so it is enough to look now and then.
            assert len(set(namespace.interfaces()) - {"lo", "other", "others"}) <= 1
    assert keeper.wait(PATIENCE) == 0
    namespace.wait_until(
        lambda: set(namespace.interfaces()) == {"lo", "other", "others"},
        "the keeper left something",
    )
    return granted


def _mutated(random: Random) -> bytes:
    message = dict(random.choice([_REQUEST, _CHANGE]))
    for _ in range(random.choice([0, 1, 1, 2, 3])):
        name = random.choice([*message, "do", "interface"])
        if random.random() < 0.2:
            message.pop(name, None)
        else:
            message[name] = random.choice(_VALUES)
    payload = bytearray(json.dumps(message).encode())
    if random.random() < 0.2:
        for _ in range(random.randrange(1, 4)):
            payload[random.randrange(len(payload))] = random.randrange(256)
    return bytes(payload)


def _receive(channel: socket.socket) -> bytes:
    """Return the next answer; the kernel discards descriptors that nobody asks for."""
    (length,) = struct.unpack(">I", channel.recv(4, socket.MSG_WAITALL))
    return channel.recv(length, socket.MSG_WAITALL)


# ---- a peer ----

_MEGABYTE = 1 << 20
_SESSION = 16 * _MEGABYTE
_GROWTH = 8 * _MEGABYTE


@pytest.mark.parametrize("size", [32, pytest.param(1024, marks=pytest.mark.exhaustive)])
def test_mutated_sessions_leave_memory_and_kernel_as_they_were(size: int) -> None:
    require_kernel()
    random = Random(size)
    taint, log = Path("/proc/sys/kernel/tainted").read_text(), _open_log()
    largest: list[int] = []
    with Namespace(ipv6=True) as namespace:
        for number in range(size * _MEGABYTE // _SESSION):
            with Peer() as peer, peer.start(namespace, "--address", "10.9.0.1/24", "-q") as program:
                largest.append(_play(program, peer, random, broken=number % 4 == 3))
            namespace.wait_gone("fp0")
    assert max(largest) - min(largest) < _GROWTH
    assert Path("/proc/sys/kernel/tainted").read_text() == taint
    assert not [line for line in _new_lines(log) if b"WARNING" in line or b"BUG" in line]
    os.close(log)


def _play(program: Fethpipe, peer: Peer, random: Random, *, broken: bool) -> int:
    """Play one session, and return the most memory that the program took."""
    pid = program.ready().pid
    connection = peer.say_hello()
    sent = 0
    while sent < _SESSION:
        data = bytearray(b"".join(connection.send_super_frames(_super_frames(random))))
        if broken and sent > _SESSION // 2:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        try:
            peer.send(bytes(data))
        except BrokenPipeError:
            break
        sent += len(data)
    status = Path(f"/proc/{pid}/status")
    peak = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")] or ["0 0"]
    peer.stop_sending()
    assert program.end()[0] in ((0, 76) if broken else (0,))
    return int(peak[0].split()[1]) * 1024


def _super_frames(random: Random) -> list[bytes]:
    """Return a batch of super-frames, all of them almost what a kernel would write."""
    return [_super_frame(random) for _ in range(8)]


_FRAMES = [
    (header(1, kind, data, size, start, offset) + frame.frame, start)
    for version, protocol, kind, size, offset in (
        *((4, TCP, 1, 1448, 16), (6, TCP, 4, 1428, 16), (4, TCP, 0x81, 1448, 16)),
        *((4, UDP, 5, 1400, 6), (6, UDP, 5, 1400, 6), (4, TCP, 0, 0, 16), (4, UDP, 0, 0, 6)),
    )
    for length in (100, 3000, 40000)
    for frame in [build(version, protocol, bytes(length))]
    for start, data in [(frame.transport, frame.data if kind else 0)]
]


def _super_frame(random: Random) -> bytes:
    whole, start = random.choice(_FRAMES)
    changed = bytearray(whole)
    for _ in range(random.choice([0, 1, 1, 2, 8])):
        position = random.randrange(min(len(changed), start + 60))
        changed[position] = random.choice([0, 1, 255, random.randrange(256)])
    if random.random() < 0.1:
        del changed[random.randrange(24, len(changed)) :]
    return bytes(changed)


def _open_log() -> int:
    """Return the kernel's log from here on."""
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    os.lseek(log, 0, os.SEEK_END)
    return log


def _new_lines(log: int) -> list[bytes]:
    lines = []
    try:
        while True:
            lines.append(os.read(log, 1 << 13))
    except BlockingIOError:
        return lines
