"""Frames per second through one fethpipe, by kind of device: a TAP, and vmnet's stand-in.

    sudo python3 -m bench.vmnet [--seconds 3] [--rounds 5] [--size 64]

Both have a real TAP behind them, so what differs is our own work: calls of the framework, and the
process between it and the pump. The other end of the stream is this program, which is made to cost
little: it reads large blocks and counts bytes, or writes the same block over and over.

`out`: UDP datagrams are sent to the device, more than it can take; counted is what comes out of the
stream. `in`: records are written to the stream as fast as they are taken; counted is what the
device has received. Few processors are shared by the sender, one process of ours with a TAP and two
with vmnet, and this program.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.measures import DATAGRAMS, compile_datagrams
from tests.live.netns import Namespace
from tests.vmnet.framework import MacWithVmnet, missing_requirement

_HOST, _GUEST, _GUEST_MAC = "10.9.0.1", "10.9.0.2", "02:00:5e:00:53:02"
_KINDS = {
    "tap": ["--address", f"{_HOST}/24"],
    "vmnet": [
        *("--device", "vmnet", "--vmnet-start", _HOST),
        *("--vmnet-end", "10.9.0.254", "--vmnet-mask", "255.255.255.0"),
    ],
}
_UDP_HEADERS = 14 + 20 + 8
_ROOM = 1 << 18
_READY_SECONDS = 10.0


class _Running(NamedTuple):
    namespace: Namespace
    device: str  # what the kernel calls it
    address: bytes  # of the kernel's side
    stdin: int
    stdout: int


@contextlib.contextmanager
def _running(kind: str) -> Iterator[_Running]:
    """Run a fethpipe with a device of this kind, on two pipes."""
    with contextlib.ExitStack() as stack:
        namespace = stack.enter_context(Namespace())
        launcher = [sys.executable, "-m", "fethpipe"]
        if kind == "vmnet":
            mac = stack.enter_context(MacWithVmnet(namespace.path))
            launcher = mac.launcher()
        its_stdin, stdin = os.pipe()
        stdout, its_stdout = os.pipe()
        ready, its_ready = os.pipe()
        options = ["--no-hello", "-q", "--ready-fd", str(its_ready), *_KINDS[kind]]
        namespace.popen(
            [*launcher, *options],
            stdin=its_stdin,
            stdout=its_stdout,
            pass_fds=[its_ready],
        )
        for descriptor in (its_stdin, its_stdout, its_ready):
            os.close(descriptor)
        for descriptor in (stdin, stdout, ready):
            stack.callback(os.close, descriptor)
        if not select.select([ready], [], [], _READY_SECONDS)[0] or not os.read(ready, 4096):
            raise RuntimeError(f"{kind} did not get ready")
        link = _kernel_side(namespace)
        add = ["ip", "neigh", "replace", _GUEST, "lladdr", _GUEST_MAC, "dev", link["ifname"]]
        namespace.run([*add, "nud", "permanent"])
        address = bytes.fromhex(link["address"].replace(":", ""))
        yield _Running(namespace, link["ifname"], address, stdin, stdout)


def _kernel_side(namespace: Namespace) -> dict[str, str]:
    links = json.loads(namespace.run(["ip", "-j", "link"]))
    (link,) = [link for link in links if link["ifname"] != "lo"]
    return dict(link)


def _out(running: _Running, scratch: Path, size: int, seconds: float) -> float:
    program = [str(scratch / DATAGRAMS), "send", _GUEST, str(size - _UDP_HEADERS), "60"]
    sender = running.namespace.popen(program)
    try:
        _count(running.stdout, 0.5)  # until the queues are full
        return _count(running.stdout, seconds) / (size + 2)
    finally:
        sender.kill()
        sender.wait()


def _count(descriptor: int, seconds: float) -> float:
    """Return the bytes that come each second."""
    started = time.monotonic()
    total = 0
    while (passed := time.monotonic() - started) < seconds:
        if select.select([descriptor], [], [], seconds - passed)[0]:
            total += len(os.read(descriptor, _ROOM))
    return total / (time.monotonic() - started)


def _in(running: _Running, size: int, seconds: float) -> float:
    header = running.address + bytes.fromhex(_GUEST_MAC.replace(":", "")) + b"\x88\xb6"
    frame = header + bytes(size - len(header))
    block = (len(frame).to_bytes(2, "big") + frame) * (_ROOM // size)
    os.set_blocking(running.stdin, False)
    _write(running.stdin, block, 0.5)
    before = _received(running)
    started = time.monotonic()
    _write(running.stdin, block, seconds)
    return (_received(running) - before) / (time.monotonic() - started)


def _write(descriptor: int, block: bytes, seconds: float) -> None:
    """Write whole blocks for so long."""
    deadline = time.monotonic() + seconds
    rest = memoryview(block)
    while len(rest) < len(block) or time.monotonic() < deadline:
        select.select([], [descriptor], [])
        rest = rest[os.write(descriptor, rest) :] or memoryview(block)
        if len(rest) == len(block) and time.monotonic() >= deadline:
            return


def _received(running: _Running) -> int:
    said = running.namespace.run(["ip", "-j", "-s", "link", "show", running.device])
    return int(json.loads(said)[0]["stats64"]["rx"]["packets"])


def main() -> None:
    """Measure, and print a table of medians."""
    parser = argparse.ArgumentParser(description="frames per second, TAP and vmnet side by side")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, action="append", help="of a frame, in bytes")
    options = parser.parse_args()
    missing = missing_requirement()
    if missing:
        sys.exit(missing)
    figures: dict[tuple[str, int], dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        compile_datagrams(scratch)
        for turn in range(options.rounds):
            for kind in sorted(_KINDS, reverse=bool(turn % 2)):
                for size in options.size or [64, 1514]:
                    with _running(kind) as running:
                        for way, value in (
                            ("out", _out(running, scratch, size, options.seconds)),
                            ("in", _in(running, size, options.seconds)),
                        ):
                            row = figures.setdefault((way, size), {})
                            row.setdefault(kind, []).append(value)
    print(f"{'':12}{'tap':>12}{'vmnet':>12}{'ratio':>8}   frames/s, medians")
    for (way, size), row in figures.items():
        tap, vmnet = (statistics.median(row[kind]) for kind in ("tap", "vmnet"))
        pairs = statistics.median(b / a for a, b in zip(row["tap"], row["vmnet"]))
        print(f"{way:4}{size:6} B{tap:12.0f}{vmnet:12.0f}{pairs:8.2f}")


if __name__ == "__main__":
    main()
