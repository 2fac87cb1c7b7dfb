#!/usr/bin/env python3
"""What confinement costs: once at the start, and in each system call, on this machine.

Processes are forked in turns, one that confines itself and one that does not. Each takes the same
calls many times, on descriptors as the pump has them. It takes some 20 seconds.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fethpipe.system.confinement import confine

_ROUNDS = 40
_CALLS = 30_000


def main() -> None:
    """Print the medians, in microseconds for the start and in nanoseconds for a call."""
    rounds = [(_take(confined=False), _take(confined=True)) for _ in range(_ROUNDS)]
    start = statistics.median(confined["start"] for _, confined in rounds)
    print(f"start    {start * 1e6:8.0f} us")
    for name in rounds[0][0]:
        if name != "start":
            without, inside = (statistics.median(each[i][name] for each in rounds) for i in (0, 1))
            more = statistics.median(each[name] - plain[name] for plain, each in rounds)
            print(f"{name:8} {without * 1e9:6.0f} ns, confined {inside * 1e9:6.0f} ns", end="")
            print(f", {more * 1e9:+5.0f} ns")


def _take(*, confined: bool) -> dict[str, float]:
    """Return what a new process measured, in seconds."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, json.dumps(_measure(confined=confined)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        taken: dict[str, float] = json.load(pipe)
    os.wait()
    return taken


def _measure(*, confined: bool) -> dict[str, float]:
    zero, null = os.open("/dev/zero", os.O_RDONLY), os.open("/dev/null", os.O_WRONLY)
    begin = time.perf_counter()
    if confined:
        lacks = confine().lacks
        if lacks:
            sys.exit(f"confinement.py: nothing to measure: {', '.join(lacks)}")
    start = time.perf_counter() - begin
    room = [bytearray(64)]
    calls: dict[str, Callable[[], object]] = {
        "readv": lambda: os.readv(zero, room),
        "writev": lambda: os.writev(null, room),
        "select": lambda: select.select([zero], [], [], 0),
        "fcntl": lambda: fcntl.fcntl(null, fcntl.F_GETFL),
    }
    return {"start": start, **{name: _time(call) for name, call in calls.items()}}


def _time(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    for _ in range(_CALLS):
        call()
    return (time.perf_counter() - begin) / _CALLS


if __name__ == "__main__":
    main()
