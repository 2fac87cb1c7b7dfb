"""Join two feth pairs of this Mac by two pipes, and have traffic pass.

Both ends are addresses of one kernel, which delivers IPv4 between them by itself. A link-local
address of IPv6 belongs to an interface, though, so fe80::2 seen from the one interface is not the
kernel's own: it goes out, through both pairs and the pipes, and comes in at the other. For IPv4,
``fethctl icmp`` is the host at the other end.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from ends import End, started

NEAR, FAR = 21100, 21101
SIZE = 20_000_000
PORT = 20711
SECONDS = 30.0


def main() -> None:
    """Have all of it pass, or end with a message."""
    with contextlib.ExitStack() as stack:
        near, far = stack.enter_context(_tunnel())
        _ping("fe80::2", near.interface, "-6", "ping6")
        _transfer(near.interface, far.interface)
        _transfer(far.interface, near.interface)
        with _responder(far.interface):
            _ping("10.211.0.2", "", "-4", "ping")
        for end in (near, far):
            print(end.interface, end.stop(), end.said().strip(), sep="\n")


@contextlib.contextmanager
def _tunnel() -> Iterator[tuple[End, End]]:
    there, back = os.pipe(), os.pipe()
    near_addresses = ("--address", "fe80::1/64", "--address", "10.211.0.1/24")
    with contextlib.ExitStack() as stack:
        near = stack.enter_context(
            started("--unit", str(NEAR), *near_addresses, stdin=back[0], stdout=there[1])
        )
        far = stack.enter_context(
            started(
                *("--unit", str(FAR), "--address", "fe80::2/64"), stdin=there[0], stdout=back[1]
            )
        )
        for descriptor in (*there, *back):
            os.close(descriptor)
        for end in (near, far):
            print(end.ready())
        yield near, far


def _ping(address: str, interface: str, version: str, program: str) -> None:
    """Have five pings answered. macOS has a program for each version of IP, Linux one for both."""
    command = [program] if shutil.which("ping6") else ["ping", version]
    scoped = f"{address}%{interface}" if interface else address
    deadline = time.monotonic() + SECONDS
    while True:  # duplicate address detection may still be under way
        done = subprocess.run(
            [*command, "-c", "5", "-i", "0.2", scoped],
            stdin=subprocess.DEVNULL,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode == 0 or time.monotonic() > deadline:
            break
    print(done.stdout + done.stderr)
    if " 0% packet loss" not in done.stdout and " 0.0% packet loss" not in done.stdout:
        sys.exit(f"pings of {scoped} are not all answered")


def _transfer(source: str, target: str) -> None:
    """Send bytes over TCP from one interface to the other's address, and compare their hash."""
    content = os.urandom(1_000_000) * (SIZE // 1_000_000)
    got = hashlib.sha256()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(1 << 16):
                got.update(data)

    host = "fe80::2" if target.endswith(str(FAR)) else "fe80::1"
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.settimeout(SECONDS)
        listener.bind((host, PORT, 0, socket.if_nametoindex(target)))
        listener.listen()
        server = threading.Thread(target=serve, args=(listener,), daemon=True)
        server.start()
        began = time.monotonic()
        with socket.create_connection((f"{host}%{source}", PORT), SECONDS) as client:
            client.sendall(content)
        server.join(SECONDS)
    seconds = time.monotonic() - began
    if server.is_alive() or got.digest() != hashlib.sha256(content).digest():
        sys.exit(f"TCP from {source} to {target} arrived damaged, or not all of it")
    print(f"{len(content)} bytes of TCP from {source} to {target}, unchanged: {seconds:.2f} s")


@contextlib.contextmanager
def _responder(interface: str) -> Iterator[None]:
    command = [sys.executable, "-m", "fethpipe.ctl", "icmp", interface, "10.211.0.2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as responder:
        try:
            print(next(iter(responder.stdout or ())).strip())
            yield
        finally:
            responder.terminate()


if __name__ == "__main__":
    main()
