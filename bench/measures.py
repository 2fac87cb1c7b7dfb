"""What is measured on each tunnel: a table at the end, and a function for each row.

A function gets an open link and a length in seconds, and returns one number in the unit of its row.
TCP is iperf3's; UDP is `datagrams.c`, since iperf3 itself is slower than the tunnels at small
datagrams. Every process that a measure starts has ended when the measure returns.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, NamedTuple

from bench.contenders import FAR, Contender, Link
from bench.namespaces import BenchError, finish, read_line, stop

DATAGRAMS = "datagrams"  # the compiled program, in the directory above a link's own
_GRACE = 15.0  # seconds that a program may take beyond those it was told to run
_FLOOD_PINGS, _FLOOD_SECONDS = 3000, 5  # whichever is reached first
_PING_INTERVAL = 0.01  # seconds, under load: too few to be a load themselves
# The congestion control that Linux has by default, whatever this machine prefers.
_IPERF_CLIENT = ["iperf3", "-c", FAR, "-C", "cubic"]
_TICKS = os.sysconf("SC_CLK_TCK")
_ECHO_TIME = re.compile(r"time=([\d.]+) ms")
_AVERAGE = re.compile(r"= [\d.]+/([\d.]+)/")


class _Transfer(NamedTuple):
    received: float  # bytes
    seconds: float


def compile_datagrams(scratch: Path) -> None:
    source = Path(__file__).with_name("datagrams.c")
    command = ["cc", "-O2", "-o", str(scratch / DATAGRAMS), str(source)]
    compiler = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    finish(compiler, timeout=60)


def warm_up(link: Link) -> None:
    """Traffic that nobody counts: what lies under a tunnel, as ssh's TCP, speeds up with use."""
    if not link.byte_sink:
        _iperf(link, 1)


def _tcp(link: Link, seconds: int, *options: str) -> float:
    """Gigabits per second that arrived."""
    if link.byte_sink:
        transfer = _sink(link, link.byte_sink(seconds), seconds)
    else:
        transfer = _iperf(link, seconds, *options)
    return transfer.received * 8e-9 / transfer.seconds


def _iperf(link: Link, seconds: int, *options: str) -> _Transfer:
    with _iperf_server(link):
        client = [*_IPERF_CLIENT, "-J", "-t", str(seconds), *options]
        # With -J, iperf3 prints errors in its JSON, whatever its exit status.
        told = json.loads(link.near.run(client, timeout=seconds + _GRACE, good=(0, 1)))
    if "error" in told:
        raise BenchError(f"iperf3: {told['error']}")
    end = told["end"]
    # With --bidir both directions count.
    sums = [end[key] for key in ("sum_received", "sum_received_bidir_reverse") if key in end]
    return _Transfer(sum(part["bytes"] for part in sums), sums[0]["seconds"])


@contextlib.contextmanager
def _iperf_server(link: Link) -> Iterator[None]:
    server = link.far.start(["iperf3", "-s", "-1", "--forceflush"], stdout=subprocess.PIPE)
    try:
        _await_line(server, "iperf3 -s", b"listening")
        yield
    finally:
        stop([server])


def _sink(link: Link, argv: list[str], seconds: int) -> _Transfer:
    with Path("/dev/zero").open("rb") as zeros:
        process = link.near.start(argv, stdin=zeros, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    received, taken = finish(process, timeout=seconds + _GRACE).split()
    return _Transfer(float(received), float(taken))


def _processor_time(link: Link, seconds: int) -> float:
    """Processor seconds of the tunnel's own processes for each gigabyte of one TCP stream."""
    before = _processor_seconds(link.pids)
    received = _iperf(link, seconds).received
    return (_processor_seconds(link.pids) - before) / (received * 1e-9)


def _processor_seconds(pids: set[int]) -> float:
    """User and system time, also of children that ended: fields 14 to 17 of proc_pid_stat(5)."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


def _udp(link: Link, seconds: int, *, size: int) -> float:
    """Thousand datagrams of `size` bytes that arrive each second while more are sent than fit."""
    program = str(link.scratch.parent / DATAGRAMS)
    counter = link.far.start(
        [program, "count", FAR, str(seconds)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    senders = []
    try:
        _await_line(counter, "datagrams count", b"ready")
        longer = str(seconds + _GRACE)  # whoever counts decides when it ends
        senders.append(link.near.start([program, "send", FAR, str(size), longer]))
        return float(finish(counter, timeout=seconds + _GRACE)) / 1000
    finally:
        stop([*senders, counter])


def _flood_ping(link: Link, _seconds: int) -> float:
    """Microseconds to the far end and back on average, one echo at a time without a pause."""
    command = ["ping", "-f", "-q", "-c", str(_FLOOD_PINGS), "-w", str(_FLOOD_SECONDS), FAR]
    # ping exits with 1 if the time was up before all were sent; its average is right nevertheless.
    said = link.near.run(command, timeout=_FLOOD_SECONDS + _GRACE, good=(0, 1))
    average = _AVERAGE.search(said)
    if average is None:
        raise BenchError(f"ping told no times: {said[-200:]}")
    return float(average[1]) * 1000


def _loaded_ping(link: Link, seconds: int) -> float:
    """Microseconds of the median echo while one TCP stream fills the tunnel."""
    with _iperf_server(link):
        client = link.near.start([*_IPERF_CLIENT, "-t", str(seconds + 1)])
        try:
            said = link.near.run(
                ["ping", "-i", str(_PING_INTERVAL), "-w", str(seconds), FAR],
                timeout=seconds + _GRACE,
            )
        finally:
            stop([client])
    return statistics.median(float(echo) for echo in _ECHO_TIME.findall(said)) * 1000


def _memory(link: Link, _seconds: int) -> float:
    """MiB resident in the tunnel's processes of both ends, what they share counted in each."""
    return sum(map(_resident_kib, link.pids)) / 1024


def _resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise BenchError(f"process {pid} of the tunnel has ended")  # a zombie has no memory


def _await_line(process: subprocess.Popen[bytes], name: str, containing: bytes) -> None:
    read_line(process.stdout, name, time.monotonic() + 5, containing=containing)


@dataclass(frozen=True)
class Measure:
    """One row: `better` is what the ratio of a better contender is, "more" or "less" than 1."""

    name: str
    title: str
    unit: str
    better: str
    run: Callable[[Link, int], float]
    of_processes: bool = False  # means nothing where the kernel alone is the tunnel
    of_bytes: bool = False  # can be measured without frames

    def applies_to(self, contender: Contender) -> bool:
        if not contender.frames:
            return self.of_bytes
        return contender.processes or not self.of_processes


# In the order of measuring: memory comes after the traffic.
MEASURES = {
    measure.name: measure
    for measure in (
        Measure("tcp1", "TCP, one stream", "Gbit/s", "more", _tcp, of_bytes=True),
        Measure(
            "tcp4", "TCP, four streams", "Gbit/s", "more", lambda link, s: _tcp(link, s, "-P", "4")
        ),
        Measure(
            "bidir", "TCP, both ways", "Gbit/s", "more", lambda link, s: _tcp(link, s, "--bidir")
        ),
        Measure("udp64", "UDP, 64 bytes", "k/s", "more", functools.partial(_udp, size=64)),
        Measure("udp1400", "UDP, 1400 bytes", "k/s", "more", functools.partial(_udp, size=1400)),
        Measure("ping", "flood ping, idle", "us", "less", _flood_ping),
        Measure("loaded", "ping beside one TCP stream", "us", "less", _loaded_ping),
        Measure("cpu", "processor time, TCP", "s/GB", "less", _processor_time, of_processes=True),
        Measure(
            "startup",
            "start until both ends are up",
            "ms",
            "less",
            lambda link, _: link.startup * 1000,
            of_processes=True,
        ),
        Measure("memory", "memory, both ends", "MiB", "less", _memory, of_processes=True),
    )
}
