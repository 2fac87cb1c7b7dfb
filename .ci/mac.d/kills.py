"""Kill fethpipe at 20 moments of its life, and see that neither interface nor process is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

from ends import End, feths, started

TIMES = 20
UNIT = 21102
SECONDS = 15.0
PAUSE = 0.05


def main() -> None:
    """Kill the pump and others of the family in turn, at moments up to 1.5 times the start's."""
    before = feths()
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
            victim = end.process.pid if pump else others[turn % len(others)]
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            _wait_ended(end)
            if not pump:  # it may have been the keeper, which nobody outlives to clean up
                subprocess.run([sys.executable, "-m", "fethpipe.ctl", "reap"], check=True)
            left = feths() - before
            # A keeper that dies between making a side and noting it leaves that one (SECURITY.md).
            if len(left) == 1 and not pump and not unnoted:
                unnoted += 1
                subprocess.run([sys.executable, "-m", "fethpipe.ctl", "destroy", *left], check=True)
            if feths() != before:
                sys.exit(f"left after SIGKILL number {turn}: {left}")
    print(f"{TIMES} times killed, {reached} times after it was ready, and nothing left")
    if unnoted:
        print("once the keeper died before it had noted the side that it had made")


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
