"""What the status line says, and how it lives with messages on one terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fethpipe.stats import Counters
from fethpipe.tunnel.status import Progress, scale
from tests.live.netns import readable
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]


# ---- what it says ----


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 "),
        (7.4, "7 "),
        (999.4, "999 "),
        (999.6, "1.00 k"),
        (1234, "1.23 k"),
        (99_940, "99.9 k"),
        (99_960, "100 k"),
        (4.5e9, "4.50 G"),
        (12e12, "12.0 T"),
        (2e16, "20000 T"),
    ],
)
def test_numbers_have_three_digits(number: float, text: str) -> None:
    assert scale(number) == text


def line_after(width: int, *, name: str = "fp0", drops: int = 3, line: Sequence[str] = ()) -> str:
    """Return the line two seconds after a start, with traffic both ways."""
    counters = Counters()
    counters.describe_line = lambda: line
    progress = Progress(name, counters, 100.0, "to me@far")
    progress.connected = True
    counters.frames_received, counters.bytes_received = 2000, 2_000_000
    counters.frames_sent, counters.bytes_sent = 20, 2000
    counters.drop("interface down", drops)
    return progress.format(102.0, kernel_drops=1, width=width)


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (
            120,
            "fp0: connected to me@far | out 8.00 Mbit/s, 1.00 kframes/s"
            " | in 8.00 kbit/s, 10 frames/s | 4 dropped",
        ),
        (80, "fp0: connected to me@far | out 8.00 Mbit/s | in 8.00 kbit/s | 4 dropped"),
        (40, "fp0 connected 8.00M/8.00k drop 4"),
        (28, "fp0 8.00M/8.00k drop 4"),
        (12, "8.00M/8.00k"),
        (5, "8.00"),
        (1, ""),
    ],
)
def test_it_fits_the_terminal(width: int, text: str) -> None:
    assert line_after(width) == text


LINE = (
    "line 1.8 Mbit/s, round trip 44 ms, on the way 12 of 12 KiB (17 ms queued), "
    "waiting 17 KiB (9 ms), 3 marked, 2 dropped",
    "line 1.8 Mbit/s, 44 ms, 12/12 KiB, waiting 17 KiB 9 ms, 3 marked",
    "line 1.8M 44ms 12/12K wait 17K 9ms mark 3",
)


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (
            240,
            "fp0: connected to me@far | out 8.00 Mbit/s, 1.00 kframes/s"
            f" | in 8.00 kbit/s, 10 frames/s | 4 dropped | {LINE[0]}",
        ),
        (
            160,
            f"fp0: connected to me@far | out 8.00 Mbit/s | in 8.00 kbit/s | 4 dropped | {LINE[1]}",
        ),
        (120, f"fp0 connected 8.00M/8.00k drop 4 | {LINE[1]}"),
        (80, f"fp0 connected 8.00M/8.00k drop 4 | {LINE[2]}"),
        (70, f"fp0 8.00M/8.00k drop 4 | {LINE[2]}"),
        (60, "fp0 connected 8.00M/8.00k drop 4"),
    ],
)
def test_the_line_to_the_peer_is_told_as_fits(width: int, text: str) -> None:
    assert line_after(width, line=LINE) == text


@given(
    width=st.integers(0, 200), drops=st.integers(0, 1 << 40), name=st.text("feth019", min_size=1)
)
def test_it_is_never_as_wide_as_the_terminal(width: int, drops: int, name: str) -> None:
    assert len(line_after(width, name=name, drops=drops)) < max(width, 1)
    assert len(line_after(width, name=name, drops=drops, line=LINE)) < max(width, 1)


def test_rates_are_those_since_the_last_look() -> None:
    counters = Counters()
    line = Progress("fp0", counters, 0.0)
    counters.bytes_received = 1000
    assert "out 8.00 kbit/s" in line.format(1.0, kernel_drops=0, width=80)
    assert "out 0 bit/s" in line.format(2.0, kernel_drops=0, width=80)
    assert "out 0 bit/s" in line.format(2.0, kernel_drops=0, width=80)  # no time has passed


def test_it_says_who_is_connected() -> None:
    line = Progress("fp0", Counters(), 0.0, "through vde_plug")
    assert "fp0: waiting for the peer |" in line.format(1.0, kernel_drops=0, width=80)
    line.connected = True
    assert "fp0: connected through vde_plug |" in line.format(2.0, kernel_drops=0, width=80)


# ---- on a terminal ----

_PRELUDE = """
import logging, sys
from fethpipe.system.stderr import configure_messages, terminal
configure_messages(logging.INFO)
say = logging.getLogger("fethpipe").info
def pause():
    sys.stdout.write("done\\n"); sys.stdout.flush()
    sys.stdin.readline()
sys.stdin.readline()
"""


def set_columns(descriptor: int, columns: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


class Screen:
    """What a terminal of so many columns shows: as much of ECMA-48 as we use, and no more."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.lines = [""]
        self._row = self._column = 0

    def feed(self, data: bytes) -> None:
        for part in re.findall(r"\x1b\[\d*[A-Z]|\r|\n|[^\x1b\r\n]", data.decode()):
            if part == "\r":
                self._column = 0
            elif part == "\n":
                self._next_row()
            elif part == "\x1b[J":
                self.lines[self._row] = self.lines[self._row][: self._column]
                del self.lines[self._row + 1 :]
            elif re.fullmatch(r"\x1b\[\d+A", part):
                self._row = max(0, self._row - int(part[2:-1]))
            else:
                assert len(part) == 1, f"what is {part!r}?"
                self._put(part)

    def _put(self, character: str) -> None:
        if self._column == self.columns:
            self._next_row()
            self._column = 0
        line = self.lines[self._row].ljust(self._column)
        self.lines[self._row] = line[: self._column] + character + line[self._column + 1 :]
        self._column += 1

    def _next_row(self) -> None:
        self._row += 1
        if self._row == len(self.lines):
            self.lines.append("")

    def resize(self, columns: int) -> None:
        """Wrap lines anew, as most terminals do; the cursor stays behind its character."""
        lines: list[str] = []
        for number, line in enumerate(self.lines):
            pieces = [line[at : at + columns] for at in range(0, len(line), columns)] or [""]
            if number == self._row:
                self._row = len(lines) + (max(self._column, 1) - 1) // columns
                self._column = (max(self._column, 1) - 1) % columns + (self._column > 0)
                break
            lines += pieces
        self.lines = lines + pieces
        self.columns = columns


class Terminal:
    """A pseudo-terminal, and a program whose stderr it is."""

    def __init__(self, columns: int, source: str) -> None:
        self._master, slave = pty.openpty()
        self.screen = Screen(columns)
        set_columns(slave, columns)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PRELUDE + source],
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=slave,
        )
        self._slave = slave

    def step(self) -> list[str]:
        """Let the program go on to its next pause, and return the lines of the screen."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        assert readable(self._process.stdout.fileno(), PATIENCE)
        self._process.stdout.readline()
        while readable(self._master, 0):
            self.screen.feed(os.read(self._master, 1 << 16))
        return self.screen.lines

    def resize(self, columns: int) -> None:
        set_columns(self._slave, columns)
        self.screen.resize(columns)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        os.close(self._slave)
        os.close(self._master)


@pytest.fixture
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    """Of so many columns, with a program that does this."""
    with contextlib.closing(Terminal(*request.param)) as terminal:
        yield terminal


def on_a_terminal(columns: int, source: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("terminal", [(columns, source)], indirect=True, ids=[""])


@on_a_terminal(
    40,
    """
terminal.show("first line"); pause()
say("a message"); pause()
terminal.show("second"); pause()
say("last words"); terminal.erase(); pause()
""",
)
def test_messages_stand_above_the_line_and_it_leaves_no_trace(terminal: Terminal) -> None:
    assert terminal.step() == ["first line"]
    assert terminal.step() == ["fethpipe: a message", "first line"]
    assert terminal.step() == ["fethpipe: a message", "second"]
    assert terminal.step() == ["fethpipe: a message", "fethpipe: last words", ""]


@on_a_terminal(
    80,
    """
say("a message"); terminal.show("x" * 79); pause()
terminal.show(f"now {terminal.width()}"); pause()
""",
)
def test_a_terminal_that_becomes_narrower_keeps_no_rest(terminal: Terminal) -> None:
    assert terminal.step() == ["fethpipe: a message", "x" * 79]
    terminal.resize(40)
    assert terminal.step() == ["fethpipe: a message", "now 40"]


_OTHER = """
import logging, sys
from fethpipe.system.stderr import configure_messages, terminal
configure_messages(logging.INFO)
sys.stdin.readline()
logging.getLogger("fethpipe").info("the other sees %d columns", terminal.width())
"""


@on_a_terminal(
    40,
    f"""
import subprocess
other = subprocess.Popen([sys.executable, "-c", {_OTHER!r}], stdin=subprocess.PIPE)
assert terminal.width() == 40
terminal.show("ours"); pause()
other.communicate(); pause()
terminal.show("ours again"); pause()
""",
)
def test_there_is_one_line_on_a_terminal_and_others_respect_it(terminal: Terminal) -> None:
    assert terminal.step() == ["ours"]
    assert terminal.step() == ["fethpipe: the other sees 0 columns", ""]
    assert terminal.step() == ["fethpipe: the other sees 0 columns", "ours again"]


@pytest.mark.parametrize(("name", "shown"), [("xterm", True), ("dumb", False), ("", False)])
def test_a_terminal_that_cannot_erase_gets_no_line(name: str, shown: bool) -> None:
    master, slave = pty.openpty()
    try:
        code = "from fethpipe.system.stderr import can_show_status as can; raise SystemExit(can())"
        environment = {**os.environ, "TERM": name}
        if not name:
            del environment["TERM"]
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, stderr=slave, check=False
        )
    finally:
        os.close(master)
        os.close(slave)
    assert bool(done.returncode) == shown
