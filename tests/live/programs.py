"""fethpipe as its users run it: ``python -m fethpipe`` from the checkout, watched from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.closing import Closing
from tests.darwin.simulation import SimulatedDarwin
from tests.live.netns import Child, Namespace, readable
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
FETHPIPE = (sys.executable, "-m", "fethpipe")
LEFT, RIGHT = "10.9.0.1", "10.9.0.2"


def changed(*settings: str) -> list[str]:
    """Return what starts a fethpipe in which constants are others: ``tunnel.run _SECONDS = 1``."""
    code = ""
    for module, name, value in (each.split(" ", 2) for each in settings):
        constant = f"fethpipe.{module}.{name}"
        code += f"import fethpipe.{module}; {constant}; {constant} {value}; "  # it has to exist
    return [
        sys.executable,
        "-c",
        code + "import sys; from fethpipe.cli import main; sys.exit(main())",
    ]


def on_mac(darwin: SimulatedDarwin, *program: str) -> list[str]:
    """Return what runs a program on a simulated Mac; without one, fethpipe."""
    settings = [f"{name}={value}" for name, value in darwin.environment.items()]
    return ["env", *settings, *(program or FETHPIPE)]


class Facts(NamedTuple):
    """What ``--ready-fd`` tells."""

    interface: str
    io_interface: str | None
    mac: str
    mtu: int
    addresses: list[str]
    pid: int
    vmnet: dict[str, object] | None = None


class Finished(NamedTuple):
    """A program that ran to its end."""

    status: int
    stdout: bytes
    stderr: str

    def ends(self, status: int, *words: str) -> Finished:
        """Check the exit status, and that stderr has these words."""
        assert self.status == status, self
        for each in words:
            assert each in self.stderr, self
        return self


class Lines:
    """The lines that come from a descriptor, which it owns."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._pending = b""
        self._text = ""

    def next(self, *, containing: str = "", seconds: float = PATIENCE) -> str:
        """Return the next line that holds a text, "" if the end comes before it."""
        deadline = time.monotonic() + seconds
        while True:
            while b"\n" in self._pending:
                raw, _, self._pending = self._pending.partition(b"\n")
                line = raw.decode()
                self._text += line + "\n"
                if containing in line:
                    return line
            assert readable(self.descriptor, deadline - time.monotonic()), (
                f"there was no line with {containing!r}, only: {self._text}"
            )
            chunk = os.read(self.descriptor, 1 << 16)
            if not chunk:
                return ""
            self._pending += chunk

    def says(self, text: str) -> bool:
        """Read what has come, and return whether a new line holds a text."""
        chunk = os.read(self.descriptor, 1 << 16)
        assert chunk, f"it has ended: {self._text}"
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        new = b"\n".join(lines).decode()
        self._text += new + "\n"
        return text in new

    def all(self) -> str:
        """Return everything from the first line on, when the end has come."""
        while self.next():
            pass
        return self._text + self._pending.decode()

    def fill(self) -> None:
        """Fill the pipe, so that nobody can write to it."""
        writer = os.open(f"/proc/self/fd/{self.descriptor}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            for size in (1 << 12, 1):
                with contextlib.suppress(BlockingIOError):
                    while True:
                        os.write(writer, b"\n" * size)
        finally:
            os.close(writer)

    def close(self) -> None:
        """Close the descriptor; safe to call twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def listen(
    namespace: Namespace, argv: Sequence[str], *, on: str = "stderr", **options: Any
) -> tuple[Child, Lines]:
    """Start a program, and return it and the lines that it writes there."""
    reading, writing = os.pipe()
    try:
        return namespace.popen(argv, **{on: writing, **options}), Lines(reading)
    finally:
        os.close(writing)


class Fethpipe(Closing):
    """A running fethpipe; ``launcher`` is everything in front of its arguments."""

    def __init__(
        self,
        namespace: Namespace,
        *arguments: str,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
        launcher: Sequence[str] = FETHPIPE,
    ) -> None:
        ready, its_ready = os.pipe()
        stderr, its_stderr = os.pipe()
        self._ready = Lines(ready)
        self.stderr = Lines(stderr)
        try:
            self._process = namespace.popen(
                [*launcher, "--ready-fd", str(its_ready), *arguments],
                stdin=stdin,
                stdout=stdout,
                stderr=its_stderr,
                pass_fds=[its_ready],
                cwd=ROOT,
            )
        finally:
            os.close(its_ready)
            os.close(its_stderr)
        self.pid = self._process.pid

    def ready(self) -> Facts:
        """Wait until the device is up; for once."""
        line = self._ready.next()
        assert line, f"fethpipe did not get ready: {self.stderr.all()}"
        states = json.loads(line)
        assert states.pop("state") == "device"
        return Facts(**states)

    def next_state(self) -> dict[str, object]:
        """Wait for the next line of ``--ready-fd``, and return it; {} at the end."""
        states: dict[str, object] = json.loads(self._ready.next() or "{}")
        return states

    def stop_listening(self) -> None:
        """Close our end of ``--ready-fd``."""
        self._ready.close()

    def is_ready(self, seconds: float) -> bool:
        """Return whether the device is up, or the program at its end, within this time."""
        return readable(self._ready.descriptor, seconds)

    def ended_by(self, due: float) -> bool:
        """Wait until this moment of the monotonic clock or the program's end; tell if it ended."""
        try:
            self._process.wait(max(0.0, due - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def report(self, *, showing: str = "") -> str:
        """Ask for the counters until they show a text, and return them."""
        deadline = time.monotonic() + PATIENCE
        while True:
            self.send_signal(signal.SIGUSR1)
            line = self.stderr.next(containing=": from device ")
            if showing in line:
                return line
            assert time.monotonic() < deadline, f"no {showing!r} in: {line}"

    def up(self) -> Fethpipe:
        """Wait until the device is up."""
        self.ready()
        return self

    def stop(self, *words: str) -> str:
        """End it by SIGTERM, and return what it said, which has these words."""
        self.send_signal(signal.SIGTERM)
        return self.ends(0, *words)

    def ends(self, status: int, *words: str, seconds: float = PATIENCE) -> str:
        """Wait for the end, with this status; return what it said, which has these words."""
        found, said = self.end(seconds=seconds)
        assert found == status, said
        for each in words:
            assert each in said, f"no {each!r} in: {said}"
        return said

    def end(self, *, seconds: float = PATIENCE) -> tuple[int, str]:
        """Wait for the end and return the exit status and all that was said on stderr."""
        status = self._process.wait(seconds)
        return status, self.stderr.all()

    def close(self) -> None:
        """Kill it, if it still runs; safe to call twice."""
        with self._process:
            self._process.kill()
        self._ready.close()
        self.stderr.close()


def finish(
    namespace: Namespace,
    *arguments: str,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    launcher: Sequence[str] = FETHPIPE,
    pass_fds: Sequence[int] = (),
) -> Finished:
    """Run fethpipe to an end that it finds by itself."""
    process = namespace.popen(
        [*launcher, *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        pass_fds=pass_fds,
        cwd=ROOT,
    )
    output, said = process.communicate(timeout=PATIENCE)
    return Finished(process.returncode, output, said.decode())


@contextlib.contextmanager
def tunnel(
    left: Namespace,
    right: Namespace,
    *options: str,
    left_options: Sequence[str] = ("--address", f"{LEFT}/24"),
    right_options: Sequence[str] = ("--address", f"{RIGHT}/24"),
    launcher: Sequence[str] = FETHPIPE,
    left_launcher: Sequence[str] = (),
) -> Iterator[tuple[Fethpipe, Fethpipe]]:
    """Join two namespaces by two fethpipes and two pipes, and wait until both are ready.

    ``options`` and ``launcher`` are for both ends.
    """
    ends = ((left, left_options, left_launcher or launcher), (right, right_options, launcher))
    there, back = os.pipe(), os.pipe()
    with contextlib.ExitStack() as stack:
        try:
            programs = [
                stack.enter_context(
                    Fethpipe(
                        namespace,
                        *options,
                        *own,
                        stdin=incoming[0],
                        stdout=outgoing[1],
                        launcher=its_launcher,
                    )
                )
                for (namespace, own, its_launcher), incoming, outgoing in zip(
                    ends, (back, there), (there, back)
                )
            ]
        finally:
            for descriptor in (*there, *back):
                os.close(descriptor)
        for program in programs:
            program.ready()
        yield programs[0], programs[1]
