"""One line for each way of not starting."""

from __future__ import annotations

import os

import pytest

from fethpipe.remote.diagnosis import NotStartedError, describe_failure
from fethpipe.remote.ssh import RemoteEnd

REMOTE = RemoteEnd("me@host", ("ssh", "-p", "22"))
OURS = "fethpipe: "


@pytest.mark.parametrize(
    ("message", "noise", "status", "words", "line"),
    [
        pytest.param(
            *("", b"", 255, "Host key verification failed."),
            "cannot reach me@host: ssh: Host key verification failed.; "
            "ssh does not trust the key of the host: log in by hand once, to accept the key",
            id="the wrong host key",
        ),
        pytest.param(
            *("", b"", 255, ""),
            "cannot reach me@host: ssh: ended with exit status 255; "
            "see what this prints: ssh -p 22 me@host true",
            id="ssh without a word",
        ),
        pytest.param(
            *("", b"", 127, "fethpipe: no Python 3.9 or newer here: python3 is Python 3.8"),
            "cannot start on me@host: no Python 3.9 or newer here: python3 is Python 3.8; "
            "install Python 3.9 or newer on that host, or name one with --remote-python",
            id="no Python",
        ),
        pytest.param(
            *("", b"some banner", 77, "fethpipe: root is needed; run as root"),
            "cannot start on me@host: root is needed; run as root",
            id="what the program itself says",
        ),
        pytest.param(
            *("", b"This account is\nclosed.", 1, ""),
            "cannot start on me@host: the session ended with exit status 1 before fethpipe "
            "was ready; it printed 'This account is\\nclosed.'; a start-up file of the login shell "
            "or a forced command ends it; see what this prints: ssh -p 22 me@host true",
            id="a session that ends by itself",
        ),
        pytest.param(
            *("", b"", 1, "Warning: Permanently added 'host' to the list of known hosts."),
            "cannot start on me@host: the session ended with exit status 1 before fethpipe "
            "was ready; it printed 'Warning: Permanently added 'host' to the list of known "
            "hosts.'; a start-up file of the login shell or a forced command ends it; "
            "see what this prints: ssh -p 22 me@host true",
            id="a session that ends by itself, and words of ssh",
        ),
        pytest.param(
            *("", b"", -9, ""),
            "cannot start on me@host: the session was killed by SIGKILL before fethpipe was "
            "ready; a start-up file of the login shell or a forced command ends it; "
            "see what this prints: ssh -p 22 me@host true",
            id="ssh was killed",
        ),
        pytest.param(
            *("it did not start within 60 s", b"Press any key", -15, ""),
            "cannot start on me@host: it did not start within 60 s; it printed 'Press any key'; "
            "the login should print nothing; see what this prints: ssh -p 22 me@host true",
            id="too late",
        ),
    ],
)
def test_it_says_what_failed_and_what_to_do(
    message: str, noise: bytes, status: int, words: str, line: str
) -> None:
    said = words[len(OURS) :] if words.startswith(OURS) else words
    error = describe_failure(
        REMOTE,
        NotStartedError(message, noise),
        status,
        said,
        from_program=words.startswith(OURS),
    )
    assert str(error) == line
    assert error.status == 69
    assert error.code == status


NO_ROUTE = "ssh: connect to host 192.168.1.5 port 22: No route to host"


def describe(words: str, *, remote: RemoteEnd = REMOTE) -> str:
    failure = NotStartedError("", b"")
    return str(describe_failure(remote, failure, 255, words, from_program=False))


def on(monkeypatch: pytest.MonkeyPatch, system: str, release: str) -> None:
    name = os.uname_result((system, "here", release, "1", "arm64"))
    monkeypatch.setattr(os, "uname", lambda: name)


def test_macos_may_keep_a_terminal_from_the_local_network(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "Darwin", "24.0.0")
    line = describe(NO_ROUTE)
    assert line.startswith(f"cannot reach me@host: ssh: {NO_ROUTE}; if ping gets there, macOS")
    assert "Local Network" in line


@pytest.mark.parametrize(("system", "release"), [("Darwin", "23.6.0"), ("Linux", "24.1.0")])
def test_others_have_no_such_privacy(
    monkeypatch: pytest.MonkeyPatch, system: str, release: str
) -> None:
    on(monkeypatch, system, release)
    assert "Local Network" not in describe(NO_ROUTE)


def test_root_may_not_be_let_in() -> None:
    words = "root@mac: Permission denied (publickey,password,keyboard-interactive)."
    assert "log in as another user" in describe(words, remote=RemoteEnd("root@mac"))
    assert "log in by hand first" in describe(words, remote=RemoteEnd("me@mac"))
