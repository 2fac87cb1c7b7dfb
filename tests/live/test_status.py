"""The status line of a running tunnel: drawn on a terminal, and nowhere else."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.live.netns import Namespace, readable
from tests.live.programs import FETHPIPE, ROOT
from tests.patience import PATIENCE
from tests.tunnel.test_status import Screen, set_columns

pytestmark = pytest.mark.live

_WIDE = r"fp0: waiting for the peer \| out \S+ \S*bit/s \| in \S+ \S*bit/s \| \d+ dropped"
LINE, SHORT_LINE = re.compile(_WIDE), re.compile(r"fp0 waiting \S+/\S+ drop \d+")


class Watched:
    """A fethpipe whose stderr is a terminal and whose peer sends nothing."""

    def __init__(self, namespace: Namespace, columns: int, *options: str) -> None:
        self._master, slave = os.openpty()
        set_columns(slave, columns)
        self.screen = Screen(columns)
        its_stdin, self._outgoing = os.pipe()
        self._incoming, its_stdout = os.pipe()
        try:
            self.process = namespace.popen(
                ["env", "TERM=xterm", *FETHPIPE, *options],
                stdin=its_stdin,
                stdout=its_stdout,
                stderr=slave,
                cwd=ROOT,
            )
        finally:
            for descriptor in (slave, its_stdin, its_stdout):
                os.close(descriptor)

    def wait_for(self, pattern: re.Pattern[str], *, count: int = 1) -> None:
        """Wait until the last line of so many is this."""
        end = time.monotonic() + PATIENCE
        while len(self.screen.lines) < count or not pattern.fullmatch(self.screen.lines[-1]):
            assert readable(self._master, end - time.monotonic()), self.screen.lines
            self.screen.feed(os.read(self._master, 1 << 16))

    def wait_for_hello(self) -> None:
        """Wait until the stream begins."""
        assert readable(self._incoming, PATIENCE)

    def finish(self) -> list[str]:
        """Return what is left on the screen at the end."""
        assert self.process.wait(PATIENCE) == 0
        with suppress(OSError):  # EIO: nobody has it open
            while readable(self._master, 0):
                self.screen.feed(os.read(self._master, 1 << 16))
        return self.screen.lines

    def close(self) -> None:
        for descriptor in (self._master, self._outgoing, self._incoming):
            os.close(descriptor)


@pytest.fixture
def watched(left: Namespace, request: pytest.FixtureRequest) -> Iterator[Watched]:
    watched = Watched(left, *request.param)
    yield watched
    watched.close()


@pytest.mark.parametrize(
    ("watched", "pattern"),
    [
        pytest.param((80,), LINE, id="80 columns"),
        pytest.param((40,), SHORT_LINE, id="40 columns", marks=pytest.mark.exhaustive),
    ],
    indirect=["watched"],
)
def test_it_is_drawn_and_goes(watched: Watched, pattern: re.Pattern[str]) -> None:
    watched.wait_for(pattern)
    before = len(watched.screen.lines)
    watched.process.send_signal(signal.SIGUSR1)
    watched.wait_for(pattern, count=before + 1)
    watched.process.terminate()
    lines = watched.finish()
    assert lines[0].startswith("fethpipe: fp0 is up")
    assert lines[-1] == ""
    shown = "".join(lines)
    assert "bit/s" not in shown
    assert "from device" in shown


@pytest.mark.parametrize("watched", [(80, "--reconnect", "600", "--", "false")], indirect=True)
def test_it_counts_down_until_the_next_start(watched: Watched) -> None:
    for seconds in (1, 2, 4, 3):
        watched.wait_for(re.compile(f"fp0: waiting, starting again in {seconds} s"))
    watched.process.terminate()
    assert "waiting" not in "".join(watched.finish())


@pytest.mark.parametrize("watched", [(80, "-q")], indirect=True)
def test_quiet_draws_none(watched: Watched) -> None:
    watched.wait_for_hello()
    assert not readable(watched._master, 1.5)
    watched.process.send_signal(signal.SIGTERM)
    assert watched.finish() == [""]
