"""What root may be given to run."""

from __future__ import annotations

import os
import subprocess

import pytest

from fethpipe.errors import NotAllowedError
from fethpipe.keeper import sudo


@pytest.mark.parametrize(
    ("system", "words"),
    [
        ("Linux", "allow sudo without a password, run as root, or wait"),
        ("Darwin", "under 'A Mac at the far end'"),
    ],
)
def test_what_is_needed_where_sudo_does_not_help(
    monkeypatch: pytest.MonkeyPatch, system: str, words: str
) -> None:
    name = os.uname_result((system, "here", "24.0.0", "1", "arm64"))
    monkeypatch.setattr(os, "uname", lambda: name)
    complaint = "echo 'sudo: a password is required' >&2; exit 1"
    need = NotAllowedError("cannot add 10.9.0.1/24 to fp0: EPERM", hint="run as root, or wait")
    with subprocess.Popen(["sh", "-c", complaint], stderr=subprocess.PIPE) as process:
        error = sudo._refusal(process, need)
    assert error.message.startswith("root is needed to add 10.9.0.1/24 to fp0, but sudo did not")
    assert "did not start the keeper: sudo: a password is required" in error.message
    assert words in (error.hint or "")
