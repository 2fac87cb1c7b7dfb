"""What the far side and ssh say on stderr."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from fethpipe.remote.relay import ErrorRelay
from fethpipe.system.stderr import printable


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Iterator[ErrorRelay]:
    monkeypatch.setattr(logging.getLogger("fethpipe"), "propagate", True)
    relay = ErrorRelay("ssh")
    yield relay
    relay.close()
    relay.close()


def say(relay: ErrorRelay, *chunks: bytes) -> None:
    for chunk in chunks:
        os.write(relay.write_descriptor, chunk)
        relay.attend()


def test_lines_tell_whose_they_are(relay: ErrorRelay, caplog: pytest.LogCaptureFixture) -> None:
    say(relay, b"Warning: x\r\nfethpipe: fp0 is", b" up\n\n", b"no end")
    assert caplog.messages == ["ssh: Warning: x", "remote: fp0 is up"]
    assert relay.last_words() == "no end"
    assert relay.last_words() == ""
    assert len(caplog.messages) == 2


def test_the_last_line_can_be_held(relay: ErrorRelay, caplog: pytest.LogCaptureFixture) -> None:
    relay.hold()
    say(relay, b"ssh: one\n")
    assert caplog.messages == []
    say(relay, b"fethpipe: two\n")
    assert caplog.messages == ["ssh: one"]
    relay.release()
    assert caplog.messages == ["ssh: one", "remote: two"]
    assert relay.last_words() == ""
    relay.hold()
    say(relay, b"three\nssh: four\n")
    assert caplog.messages[2:] == ["ssh: three"]
    relay.flush()
    assert caplog.messages[3:] == ["ssh: four"]
    say(relay, b"ssh: five")
    assert relay.last_words() == relay.last_line == "five"
    assert caplog.messages[4:] == []


def test_a_line_without_end_is_cut(relay: ErrorRelay, caplog: pytest.LogCaptureFixture) -> None:
    say(relay, b"x" * 1500)
    assert caplog.messages == ["ssh: " + "x" * 1000]


def test_nothing_said_is_no_end(relay: ErrorRelay, caplog: pytest.LogCaptureFixture) -> None:
    relay.attend()
    assert relay.last_words() == ""
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b"plain \xc3\xa4", "plain ä"),
        (b"\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"a\tb", "a       b"),
        ("right to left \u202e".encode(), "right to left \\u202e"),
    ],
)
def test_strangers_do_nothing_to_the_terminal(said: bytes, shown: str) -> None:
    assert printable(said) == shown


def test_lines_beyond_a_rate_are_counted(
    relay: ErrorRelay, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("fethpipe.remote.relay.time.monotonic", lambda: now)
    relay._allowed_at = now
    say(relay, b"x\n" * 800)
    assert len(caplog.messages) == 500
    now += 1
    say(relay, b"y\n" * 30)
    assert caplog.messages[500] == "ssh: 300 lines dropped: too many at once"
    assert caplog.messages[501:] == ["ssh: y"] * 20
    say(relay, b"why\n")
    assert relay.last_words() == "why"
    assert caplog.messages[521:] == ["ssh: 11 lines dropped: too many at once"]


def test_tabs_do_not_grow_a_line(relay: ErrorRelay, caplog: pytest.LogCaptureFixture) -> None:
    say(relay, b"x" + b"\t" * 900 + b"y\n")
    assert len(caplog.messages[0]) == len("ssh: ") + 1000
