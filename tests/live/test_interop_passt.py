"""passt: a network for a namespace, without root on passt's side."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.netns import Namespace, require_tools
from tests.live.ordinary import NOBODY
from tests.live.peers import check_pings, kill_program
from tests.live.private import let_others_in
from tests.live.programs import FETHPIPE, Facts, Fethpipe
from tests.live.traffic import transfer
from tests.patience import PATIENCE

pytestmark = pytest.mark.live

HOST, GATEWAY, SERVER = "192.0.2.2", "192.0.2.1", "198.51.100.1"
HOST6, GATEWAY6, SERVER6 = "2001:db8::2", "2001:db8::1", "2001:db8:1::1"
_OPEN_PORT = 5000
_LEASE_SCRIPT = """\
#!/bin/sh
[ "$1" = bound ] || exit 0
ip address add "$ip/$mask" dev "$interface"
ip route add default via "$router" dev "$interface"
"""
_AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


@pytest.fixture
def outside() -> Iterator[tuple[Namespace, Namespace]]:
    """The namespace of passt, and that of a server behind a router."""
    require_tools("passt", "socat", "setpriv", "udhcpc", "nsenter")
    with Namespace(ipv6=True) as host, Namespace(ipv6=True) as server:
        host.lay_cable("out0", server, "srv0")
        for namespace, interface, *addresses in (
            (server, "srv0", f"{GATEWAY}/24", f"{GATEWAY6}/64"),
            (server, "lo", f"{SERVER}/32", f"{SERVER6}/128"),
            (host, "out0", f"{HOST}/24", f"{HOST6}/64"),
        ):
            for address in addresses:
                nodad = ["nodad"] if ":" in address else []
                namespace.run(["ip", "address", "add", address, "dev", interface, *nodad])
        host.run(["ip", "route", "add", "default", "via", GATEWAY])
        host.run(["ip", "-6", "route", "add", "default", "via", GATEWAY6])
        host.run(["sysctl", "-qw", f"net.ipv4.ping_group_range={NOBODY} {NOBODY}"])
        yield host, server


@pytest.fixture
def inside() -> Iterator[Namespace]:
    with Namespace(ipv6=True) as namespace:
        yield namespace


def start(
    inside: Namespace, host: Namespace, folder: Path, *, mtu: int = 1500
) -> tuple[Fethpipe, Facts]:
    """Start passt as nobody, and a fethpipe whose TAP is its guest.

    The stream is the socket itself: this passt loses step with records that come in pieces, as
    they do through the buffer of a program in between.
    """
    let_others_in(folder)
    folder.chmod(0o777)
    path = folder / "passt"
    options = ["--mtu", str(mtu), "--tcp-ports", str(_OPEN_PORT), "--socket", str(path)]
    host.popen([*_AS_NOBODY, "passt", "--foreground", "--quiet", *options])
    address = f"UNIX-CONNECT:{path},retry=1000,interval=0.01"
    script = f'exec socat {address} "EXEC:{" ".join(FETHPIPE)} $*,nofork"'
    options = ["--framing", "u32be", "--mtu", str(mtu)]
    program = Fethpipe(inside, *options, launcher=["sh", "-c", script, "sh"])
    return program, program.ready()


@contextlib.contextmanager
def guest(
    inside: Namespace, host: Namespace, folder: Path, *, mtu: int = 1500
) -> Iterator[Fethpipe]:
    """Start both, and get an address by DHCP."""
    with start(inside, host, folder, mtu=mtu)[0] as program:
        lease(inside, folder)
        yield program


def lease(inside: Namespace, folder: Path) -> None:
    """Get an address by DHCP."""
    script = folder / "lease"
    script.write_text(_LEASE_SCRIPT)
    script.chmod(0o755)
    inside.run(["udhcpc", "-i", "fp0", "-f", "-q", "-n", "-t", "10", "-T", "1", "-s", str(script)])


def exchange(inside: Namespace, server: Namespace, address: str, size: int) -> None:
    """Have the server echo bytes over TCP."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with server.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind((address, 0))
        listener.listen()
        with inside.socket(family, socket.SOCK_STREAM) as client:
            client.connect(listener.getsockname()[:2])
            connection, _ = listener.accept()
            connection.settimeout(PATIENCE)
            with connection:
                for chunk in (os.urandom(1 << 14) for _ in range(size >> 14)):
                    for sender, receiver in ((client, connection), (connection, client)):
                        sender.sendall(chunk)
                        assert _receive(receiver, len(chunk)) == chunk


def send_in(inside: Namespace, server: Namespace, size: int) -> None:
    """Send bytes from the server, through the port that passt has open, as fast as TCP can."""
    data = os.urandom(size)
    with inside.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((HOST, _OPEN_PORT))  # which is the address inside as well
        listener.listen()
        client = server.socket(socket.AF_INET, socket.SOCK_STREAM)
        with client, ThreadPoolExecutor(1) as thread:
            client.connect((HOST, _OPEN_PORT))
            sending = thread.submit(client.sendall, data)
            connection, _ = listener.accept()
            connection.settimeout(PATIENCE)
            with connection:
                received = _receive(connection, size)
            sending.result()
    assert received == data


def _receive(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        assert chunk, "the connection ended"
        data += chunk
    return bytes(data)


def test_an_address_by_dhcp_reaches_a_server(
    inside: Namespace, outside: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    host, server = outside
    with guest(inside, host, tmp_path):
        assert f"inet {HOST}/24" in inside.run(["ip", "address", "show", "dev", "fp0"])
        exchange(inside, server, SERVER, 1 << 20)
        check_pings(inside, SERVER)


@pytest.mark.parametrize("mtu", [1500, 9000, 65520])
def test_bulk_passes_out_and_in(
    inside: Namespace, outside: tuple[Namespace, Namespace], tmp_path: Path, mtu: int
) -> None:
    host, server = outside
    with guest(inside, host, tmp_path, mtu=mtu):
        transfer(inside, server, SERVER, 10_000_000)
        send_in(inside, server, 10_000_000)


def test_an_address_by_router_advertisement_reaches_a_server(
    inside: Namespace, outside: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    host, server = outside
    program, facts = start(inside, host, tmp_path)
    with program:
        inside.wait_usable(_autoconfigured(facts.mac))
        exchange(inside, server, SERVER6, 1 << 20)
        assert program.report(showing="from device")


def _autoconfigured(address: str) -> str:
    """Return the address that 2001:db8::/64 makes with a MAC."""
    mac = bytes.fromhex(address.replace(":", ""))
    identifier = bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return socket.inet_ntop(socket.AF_INET6, struct.pack("!IHH", 0x20010DB8, 0, 0) + identifier)


def test_a_passt_that_dies_is_the_end(
    inside: Namespace, outside: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    host, _ = outside
    with guest(inside, host, tmp_path) as program:
        kill_program(host, "passt")
        program.ends(0, "the peer closed the stream")
