"""Kill fethpipe at 20 moments of its life, and see that neither interface nor process is left."""

from __future__ import annotations

import contextlib
import fcntl
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
    before, ledgers = feths(), _ledgers()
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
            _wait_ended(end, ledgers)
            # A keeper leaves its ledger if it is killed, or cannot destroy what it made.
            abandoned = _ledgers() - ledgers
            if abandoned and pump:
                _fail(f"SIGKILL number {turn} was for the pump, but the keeper left its ledger")
            noted = [name for ledger in abandoned for name in _interfaces(ledger)]
            if abandoned:
                subprocess.run([sys.executable, "-m", "fethpipe.ctl", "reap"], check=True)
            if _ledgers() - ledgers:
                _fail(f"after SIGKILL number {turn}, for the keeper, fethctl reap left its ledger")
            left = feths() - before
            # Killed between making a side and noting it, a keeper leaves that one (SECURITY.md).
            if abandoned and left and left == set(PAIR[len(noted) : len(noted) + 1]):
                unnoted += 1
                subprocess.run([sys.executable, "-m", "fethpipe.ctl", "destroy", *left], check=True)
            if feths() != before:
                _fail(f"left after SIGKILL number {turn}: {left}; in the ledger: {noted}")
    print(f"{TIMES} times killed, {reached} times after it was ready, and nothing left")
    if unnoted:
        print(f"{unnoted} times the keeper died before it had noted the side that it had made")


def _ledgers() -> set[Path]:
    return set(LEDGERS.glob("*.json"))


def _is_held(ledger: Path) -> bool:
    """Return whether the keeper of a ledger lives: it has locked the file until it ends."""
    with contextlib.suppress(FileNotFoundError), ledger.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _fail(why: str) -> None:
    """End the step: tell the interfaces, ledgers and processes that there are, and then why."""
    ledgers = [f"{path}: {path.read_text()}" for path in _ledgers()]
    sys.exit("\n".join([*sorted(feths()), *ledgers, *filter(_is_of_fethpipe, _ps()), why]))


def _is_of_fethpipe(line: str) -> bool:
    return "fethpipe" in line or str(UNIT) in line


def _ps() -> list[str]:
    """Return a line for each process: its number, its parent's, its state and all its command."""
    columns = ("-o", "pid=", "-o", "ppid=", "-o", "stat=", "-o", "command=")
    listed = subprocess.run(["ps", "-axww", *columns], capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def _interfaces(ledger: Path) -> list[str]:
    """Return the names of the interfaces that a keeper had noted."""
    return [json.loads(line)["interface"] for line in ledger.read_text().splitlines()]


def _family(end: End) -> list[int]:
    """Return the processes of a fethpipe: those that name its unit, and what they started."""
    rows = [line.split(None, 3) for line in _ps()]
    family = {end.process.pid} | {
        int(pid) for pid, _, _, *command in rows if f"--unit {UNIT} " in "".join(command)
    }
    size = 0
    while size != len(family):
        size = len(family)
        family |= {int(row[0]) for row in rows if int(row[1]) in family}
    return sorted(family)


def _wait_ended(end: End, ledgers: set[Path]) -> None:
    began = time.monotonic()
    while left := _running(end) or list(filter(_is_held, _ledgers() - ledgers)):
        waited = time.monotonic() - began
        if waited > SECONDS:
            _fail(f"processes, or ledgers in use, left after SIGKILL: {left}")
        if waited > 0.3 and end.process.poll() is None:
            end.process.send_signal(signal.SIGTERM)  # it can do without the victim
        time.sleep(PAUSE)


def _running(end: End) -> list[int]:
    return [pid for pid in _family(end) if pid != end.process.pid or end.process.poll() is None]


if __name__ == "__main__":
    main()
