"""Kill fethpipe at 20 moments of its life, and see that neither interface nor process is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ends import End, feths, started

TIMES = 20
UNIT = 21102
PAIR = [f"feth{UNIT}", f"feth{UNIT + 10000}"]  # in the order in which they are made
LEDGERS = Path("/var/run/fethpipe")
SECONDS = 15.0
PAUSE = 0.05


def main() -> None:
    """Kill the pump and others of the family in turn, at moments up to 1.5 times the start's."""
    before, ledgers = feths(), set(LEDGERS.glob("*.json"))
    with started("--unit", str(UNIT), "--", "cat") as end:
        end.ready()
        usual = time.monotonic() - end.began
    print(f"it is ready after {usual:.2f} s")
    reached = unnoted = 0
    for turn in range(TIMES):
        with started("--unit", str(UNIT), "--", "cat") as end:
            time.sleep(1.5 * usual * turn / TIMES)
            reached += end.is_ready()
            others = [each for each in _family(end) if each != end.process.pid]
            pump = turn % 2 == 0 or not others
            victim = end.process.pid if pump else others[turn // 2 % len(others)]
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            _wait_ended(end)
            # Only a keeper that is killed leaves its ledger.
            abandoned = set(LEDGERS.glob("*.json")) - ledgers
            if abandoned and pump:
                sys.exit(f"SIGKILL number {turn} was for the pump, but the keeper died")
            noted = [name for ledger in abandoned for name in _interfaces(ledger)]
            if abandoned:
                subprocess.run([sys.executable, "-m", "fethpipe.ctl", "reap"], check=True)
            left = feths() - before
            # Killed between making a side and noting it, a keeper leaves that one (SECURITY.md).
            if abandoned and left and left == set(PAIR[len(noted) : len(noted) + 1]):
                unnoted += 1
                subprocess.run([sys.executable, "-m", "fethpipe.ctl", "destroy", *left], check=True)
            if feths() != before:
                sys.exit(f"left after SIGKILL number {turn}: {left}; in the ledger: {noted}")
    print(f"{TIMES} times killed, {reached} times after it was ready, and nothing left")
    if unnoted:
        print(f"{unnoted} times the keeper died before it had noted the side that it had made")


def _interfaces(ledger: Path) -> list[str]:
    """Return the names of the interfaces that a keeper had noted."""
    return [json.loads(line)["interface"] for line in ledger.read_text().splitlines()]


def _family(end: End) -> list[int]:
    """Return the processes of a fethpipe: those that name its unit, and what they started."""
    columns = ("-o", "pid=", "-o", "ppid=", "-o", "command=")
    listed = subprocess.run(["ps", "-ax", *columns], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    family = {end.process.pid} | {
        int(pid)
        for pid, _, command in (row for row in rows if len(row) == 3)
        if f"--unit {UNIT} " in command
    }
    size = 0
    while size != len(family):
        size = len(family)
        family |= {int(row[0]) for row in rows if int(row[1]) in family}
    return sorted(family)


def _wait_ended(end: End) -> None:
    began = time.monotonic()
    while left := _running(end):
        waited = time.monotonic() - began
        if waited > SECONDS:
            sys.exit(f"processes left after SIGKILL: {left}")
        if waited > 0.3 and end.process.poll() is None:
            end.process.send_signal(signal.SIGTERM)  # it can do without the victim
        time.sleep(PAUSE)


def _running(end: End) -> list[int]:
    return [pid for pid in _family(end) if pid != end.process.pid or end.process.poll() is None]


if __name__ == "__main__":
    main()
