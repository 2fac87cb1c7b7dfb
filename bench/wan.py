#!/usr/bin/env python3
"""Measure tunnels over ssh on a slow line: the throughput of TCP, and a ping beside it.

    python3 bench/wan.py --quick
    python3 bench/wan.py --lines 2/40,10/40,100/40 --loads up,down,both --rounds 5 --json wan.json

A line is so many Mbit/s with so many milliseconds there and back; `line.c` is what makes it. Every
round takes one tunnel after the other, each on a line of its own, over an sshd of its own. As with
`run.py`, everything runs in namespaces of its own and ends with it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import contenders
from bench.contenders import FAR, Link
from bench.namespaces import BenchError, Namespace, finish, read_line, stop
from bench.pings import as_svg
from bench.world import DIE_WITH_ME, mount_inside, run_inside

_LINE = "line"  # the compiled program, in the directory above a link's own
_GRACE = 30.0
_PING = 0.05  # seconds between two
_IDLE_PINGS = 40
_SETTLED = 3.0  # seconds after a change, from when on both bounds are to hold again
_INTERVAL = re.compile(r"([\d.]+)-[\d.]+ +sec .* ([\d.]+) ([KMG]?)bits/sec")
_UNITS = {"": 1e-6, "K": 1e-3, "M": 1.0, "G": 1e3}
_ECHO = re.compile(r"\[([\d.]+)\].*time=([\d.]+) ms")
_OUTSIDE_PORT = 5202
_PULSE = (0.2, 0.65)  # from which part of a run to which, an upload that starts and stops
_CHANGED = 0.4  # after this part of a run, where the line changes while it runs


class LineLink(Link):
    """A link whose carrier is an emulated line."""

    def __init__(self, scratch: Path, line: LineSpec, congestion: str) -> None:
        super().__init__(scratch)
        self.line = line
        self.congestion = congestion
        self._control: subprocess.Popen[bytes] | None = None

    def carrier(self) -> None:
        """Start the line, and give its two TAPs addresses."""
        program = str(self.scratch.parent / _LINE)
        self._control = subprocess.Popen(
            [*DIE_WITH_ME, program, self.near.path, self.far.path, "under0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._background.append(self._control)
        read_line(self._control.stdout, "line", time.monotonic() + 10)
        self.change(self.line)
        for namespace, address in (
            (self.near, contenders.CARRIER_NEAR),
            (self.far, contenders.CARRIER_FAR),
        ):
            namespace.configure(
                f"address add {address}/24 dev under0",
                "link set under0 txqueuelen 10000 up",
                f"route change {contenders.CARRIER} dev under0 congctl {self.congestion}",
            )

    def change(self, line: LineSpec) -> None:
        """Make the line another one while it runs."""
        if self._control is None or self._control.stdin is None:
            raise BenchError("the link has no line")
        self._control.stdin.write(line.command().encode())
        self._control.stdin.flush()


class LineSpec(NamedTuple):
    """Megabits a second each way, milliseconds there and back, and what the queue holds."""

    rate: float
    delay: float
    queue: float = 100.0
    loss: float = 0.0

    def command(self) -> str:
        half = self.delay / 2
        return f"both rate {self.rate} delay {half} queue {self.queue} loss {self.loss}\n"

    def __str__(self) -> str:
        loss = f", {self.loss:g} % lost" if self.loss else ""
        return f"{self.rate:g} Mbit/s, {self.delay:g} ms{loss}"


class Reading(NamedTuple):
    """What one load did: megabits a second by direction or by stream, and ping's milliseconds."""

    rates: list[float]
    idle: list[float]
    loaded: list[float]
    series: list[tuple[float, float]]


def _fethpipe(*options: str) -> Callable[[Link], None]:
    """Open fethpipe with --ssh."""

    def open_link(link: Link) -> None:
        contenders.open_by_ssh(link, *options)

    return open_link


TUNNELS: dict[str, Callable[[Link], None]] = {
    "fethpipe": _fethpipe(),
    "uncontrolled": _fethpipe("--no-latency-control"),
    "ssh-w": contenders.open_openssh,
    "ssh": contenders.open_ssh_bytes,
}


_NAMES = {"uncontrolled": "--no-latency-control", "ssh-w": "ssh -w"}


def _pings(said: str) -> list[tuple[float, float]]:
    return [(float(at), float(took)) for at, took in _ECHO.findall(said)]


def _ping(link: Link, address: str, count: int) -> list[tuple[float, float]]:
    command = ["ping", "-D", "-i", str(_PING), "-c", str(count), address]
    return _pings(link.near.run(command, timeout=count * _PING + _GRACE, good=(0, 1)))


def _load(link: LineLink, load: str, seconds: int, congestion: str) -> Reading:
    """Take the pings of an idle line, then those beside a load."""
    address = contenders.CARRIER_FAR if link.byte_sink else FAR
    idle = [took for _, took in _ping(link, address, _IDLE_PINGS)]
    with contextlib.ExitStack() as stack:
        if link.byte_sink:
            finish_load = _bytes_load(link, load, seconds, stack)
        else:
            finish_load = _LOADS[load](link, seconds, congestion, stack)
        begin = time.time()
        pings = ["ping", "-D", "-i", str(_PING), "-w", str(seconds), address]
        pinging = link.near.start(pings, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if load in ("fall", "rise"):
            time.sleep(seconds * _CHANGED)
            factor = 0.1 if load == "fall" else 10
            link.change(link.line._replace(rate=link.line.rate * factor))
        said = finish(pinging, timeout=seconds + _GRACE, good=(0, 1))
        rates = finish_load()
    series = [(at - begin, took) for at, took in _pings(said)]
    return Reading(rates, idle, [took for _, took in series], series)


def _bytes_load(
    link: LineLink, load: str, seconds: int, stack: contextlib.ExitStack
) -> Callable[[], list[float]]:
    """Bytes through ssh, no tunnel; one direction at a time."""
    if load != "up" or link.byte_sink is None:
        raise BenchError("ssh alone is measured up only")
    zeros = os.open("/dev/zero", os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, zeros)
    process = link.near.start(
        link.byte_sink(seconds), stdin=zeros, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )

    def result() -> list[float]:
        received, taken = finish(process, timeout=seconds + _GRACE).split()
        return [float(received) * 8e-6 / float(taken)]

    return result


class _Iperf:
    """One iperf3, both ends, started at once."""

    def __init__(
        self,
        ends: tuple[Namespace, Namespace],
        address: str,
        options: Sequence[str],
        stack: contextlib.ExitStack,
        *,
        seconds: int,
        port: int = 5201,
        delay: float = 0.0,
    ) -> None:
        near, far = ends
        server = far.start(
            ["iperf3", "-s", "-1", "--forceflush", "-p", str(port)], stdout=subprocess.PIPE
        )
        stack.callback(stop, [server])
        read_line(server.stdout, "iperf3 -s", time.monotonic() + 5, containing=b"listening")
        command = ["iperf3", "-J", "-c", address, "-p", str(port), "-t", str(seconds)]
        self._seconds = seconds + delay
        wait = ["sh", "-c", 'sleep "$0"; exec "$@"', str(delay)]
        self._client = near.start(
            [*wait, *command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        stack.callback(stop, [self._client])

    def told(self) -> dict[str, Any]:
        answer = finish(self._client, timeout=self._seconds + _GRACE, good=(0, 1))
        told: dict[str, Any] = json.loads(answer)
        if "error" in told:
            raise BenchError(f"iperf3: {told['error']}")
        return told


def _rates(told: dict[str, Any]) -> list[float]:
    end = told["end"]
    keys = ("sum_received", "sum_received_bidir_reverse")
    return [end[key]["bits_per_second"] * 1e-6 for key in keys if key in end]


def _one(*options: str) -> Callable[..., Callable[[], list[float]]]:
    def start(
        link: LineLink, seconds: int, congestion: str, stack: contextlib.ExitStack
    ) -> Callable[[], list[float]]:
        iperf = _Iperf(
            (link.near, link.far), FAR, ["-C", congestion, *options], stack, seconds=seconds
        )
        return lambda: _rates(iperf.told())

    return start


def _changing(
    link: LineLink, seconds: int, congestion: str, stack: contextlib.ExitStack
) -> Callable[[], list[float]]:
    """What arrives from some seconds after the change on."""
    options = ["-C", congestion, "--get-server-output"]
    iperf = _Iperf((link.near, link.far), FAR, options, stack, seconds=seconds)
    since = seconds * _CHANGED + _SETTLED

    def rates() -> list[float]:
        told = iperf.told()["server_output_text"]
        settled = [
            float(rate) * _UNITS[unit]
            for start, rate, unit in _INTERVAL.findall(told)
            if float(start) >= since
        ]
        return [statistics.fmean(settled)]

    return rates


def _pulse(
    link: LineLink, seconds: int, congestion: str, stack: contextlib.ExitStack
) -> Callable[[], list[float]]:
    """An upload that starts and stops between pings."""
    begin, end = (round(seconds * part) for part in _PULSE)
    iperf = _Iperf(
        (link.near, link.far), FAR, ["-C", congestion], stack, seconds=end - begin, delay=begin
    )
    return lambda: _rates(iperf.told())


def _beside(
    link: LineLink, seconds: int, congestion: str, stack: contextlib.ExitStack
) -> Callable[[], list[float]]:
    """One upload in the tunnel, one outside of it."""
    options = ["-C", congestion]
    ends = link.near, link.far
    inside = _Iperf(ends, FAR, options, stack, seconds=seconds)
    outside = _Iperf(
        ends, contenders.CARRIER_FAR, ["-C", "cubic"], stack, seconds=seconds, port=_OUTSIDE_PORT
    )
    return lambda: [*_rates(inside.told()), *_rates(outside.told())]


def _four(
    link: LineLink, seconds: int, _congestion: str, stack: contextlib.ExitStack
) -> Callable[[], list[float]]:
    """Four uploads, of which one is BBR."""
    uploads = [
        _Iperf((link.near, link.far), FAR, ["-C", name], stack, seconds=seconds, port=5201 + index)
        for index, name in enumerate(("cubic", "cubic", "cubic", "bbr"))
    ]
    return lambda: [rate for upload in uploads for rate in _rates(upload.told())]


_LOADS: dict[str, Callable[..., Callable[[], list[float]]]] = {
    "up": _one(),
    "down": _one("-R"),
    "both": _one("--bidir"),
    "fall": _changing,
    "rise": _changing,
    "pulse": _pulse,
    "beside": _beside,
    "four": _four,
}


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    if options.inside:
        return _inside(options)
    if options.table:
        rows = read_rows(options.table)
        print(_table(rows))
        if options.svg:
            options.svg.write_text(_picture(rows))
        return 0
    if os.geteuid() != 0:
        sys.exit("wan.py: only root can make network namespaces: run it with sudo")
    return run_inside(__file__, argv)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure tunnels over ssh on an emulated line.",
        epilog=f"tunnels: {', '.join(TUNNELS)} (uncontrolled is fethpipe --no-latency-control, "
        f"ssh are bytes without a tunnel); loads: {', '.join(_LOADS)}",
    )
    add = parser.add_argument
    add("--lines", type=_lines, metavar="MBIT/MS[/LOSS],...", help="the lines (default 10/40)")
    add("--queue", type=float, default=100, metavar="MS", help="of the line (default 100)")
    add("--loads", metavar="LOAD,...", help="default up,down,both")
    add("--tunnels", metavar="NAME,...", help="default all")
    add("--congestion", default="cubic", metavar="NAME,...", help="of TCP inside (default cubic)")
    add("--ssh-congestion", default="cubic", metavar="NAME", help="of ssh (default cubic)")
    add("--rounds", type=int, default=1, metavar="N", help="how often to repeat (default 1)")
    add("--seconds", type=int, default=20, metavar="N", help="length of a load (default 20)")
    add("--quick", action="store_true", help="upload only, 8 seconds")
    add("--json", type=Path, metavar="FILE", help="add everything to it; skip what it has already")
    add("--table", type=Path, nargs="+", metavar="FILE", help="print the medians of such files")
    add("--svg", type=Path, metavar="FILE", help="with --table: draw the last round of load pulse")
    add("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.lines = [
        line._replace(queue=options.queue) for line in options.lines or [LineSpec(10, 40)]
    ]
    options.loads = (options.loads or ("up" if options.quick else "up,down,both")).split(",")
    options.tunnels = options.tunnels.split(",") if options.tunnels else list(TUNNELS)
    for given, known in ((options.loads, _LOADS), (options.tunnels, TUNNELS)):
        for name in given:
            if name not in known:
                parser.error(f"{name} is none of {', '.join(known)}")
    if options.quick:
        options.seconds = 8
    return options


def _lines(text: str) -> list[LineSpec]:
    lines = []
    for word in text.split(","):
        rate, delay, *loss = map(float, word.split("/"))
        lines.append(LineSpec(rate, delay, loss=loss[0] if loss else 0))
    return lines


def _inside(options: argparse.Namespace) -> int:
    mount_inside()
    source = str(Path(__file__).with_name("line.c"))
    subprocess.run(["cc", "-O2", "-o", str(options.inside / _LINE), source], check=True)
    done = read_rows([options.json]) if options.json else []
    measured = {_which(row) for row in done}
    for number, run in enumerate(_runs(options)):
        if _which(run._asdict()) in measured:
            continue
        row = _measure(options, run, options.inside / str(number))
        if row and options.json:
            with options.json.open("a") as file:
                file.write(json.dumps(row) + "\n")
    return 0


class Run(NamedTuple):
    """One measurement."""

    round: int
    line: LineSpec
    load: str
    tunnel: str
    tcp: str


def _runs(options: argparse.Namespace) -> Iterator[Run]:
    tcps = options.congestion.split(",")
    for round_ in range(options.rounds):
        for line, load in itertools.product(options.lines, options.loads):
            for name, tcp in itertools.product(options.tunnels, tcps):
                yield Run(round_, line, load, name, tcp)


def _which(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in Run._fields)


def read_rows(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Return what files hold, one measurement a line; of a file that is missing, nothing."""
    return [
        json.loads(line)
        for file in files
        if file.exists()
        for line in file.read_text().splitlines()
    ]


def _measure(options: argparse.Namespace, run: Run, scratch: Path) -> dict[str, Any] | None:
    """Open a tunnel on a line of its own, and return what a load did."""
    row: dict[str, Any] = {**run._asdict(), "line": str(run.line)}
    try:
        with contextlib.closing(LineLink(scratch, run.line, options.ssh_congestion)) as link:
            TUNNELS[run.tunnel](link)
            reading = _load(link, run.load, options.seconds, run.tcp)
    except (BenchError, OSError, ValueError, LookupError, ArithmeticError) as err:
        print(f"{run.line} {run.tunnel} {run.load}: {err}", file=sys.stderr, flush=True)
        return None
    row.update(reading._asdict(), startup=link.startup, seconds=options.seconds)
    print(_row(row), flush=True)
    return row


def _row(row: dict[str, Any]) -> str:
    loaded = loaded_pings(row)
    rates = " + ".join(f"{rate:.2f}" for rate in row["rates"])
    return (
        f"{row['line']:20} {row['load']:6} {row['tunnel']:12} {row['tcp']:5} {rates:>15} Mbit/s"
        f"  idle {statistics.median(row['idle']):6.1f}"
        f"  median {statistics.median(loaded):7.1f}  95 % {_part(loaded, 0.95):7.1f}"
        f"  worst {max(loaded):7.1f} ms  start {row['startup']:.2f} s"
    )


def loaded_pings(row: dict[str, Any]) -> list[float]:
    """Return the milliseconds of the pings beside a load, after a change only those that count."""
    if row["load"] not in ("fall", "rise"):
        return list(row["loaded"])
    since = row["seconds"] * _CHANGED + _SETTLED
    return [took for at, took in row["series"] if at >= since]


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the medians of all rounds, as a table in Markdown."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["line"], row["load"], row["tunnel"]), []).append(row)
    lines = [
        "| line | load | tunnel | Mbit/s | ping idle | loaded | 95 % | worst | rounds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for names, group in groups.items():
        rates = " + ".join(
            f"{statistics.median(rates):.3g}" for rates in zip(*(row["rates"] for row in group))
        )
        pings = [loaded_pings(row) for row in group]
        figures = [
            statistics.median(statistics.median(row["idle"]) for row in group),
            *(statistics.median(_part(each, part) for each in pings) for part in (0.5, 0.95, 1.0)),
        ]
        told = " | ".join(f"{figure:.0f} ms" for figure in figures)
        lines.append(f"| {' | '.join(names)} | {rates} | {told} | {len(group)} |")
    return "\n".join(lines)


def _picture(rows: Sequence[dict[str, Any]]) -> str:
    last = {row["tunnel"]: row for row in rows if row["load"] == "pulse"}
    if not last:
        raise SystemExit("wan.py: no such file has the load pulse")
    curves = [(_NAMES.get(name, name), row["series"]) for name, row in last.items()]
    some = next(iter(last.values()))
    begin, end = (some["seconds"] * part for part in _PULSE)
    heading = f"Ping in a tunnel over ssh, {some['line']}"
    return as_svg(heading, curves, some["seconds"], (begin, end))


def _part(values: Sequence[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
