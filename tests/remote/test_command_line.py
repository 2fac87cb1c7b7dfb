"""One command line for every login shell."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fethpipe.remote.ssh import RemoteEnd, remote_command_line, ssh_arguments
from fethpipe.system.bundle import BOOT, STAGE, pack_program

SHELLS = ("sh", "bash", "dash", "zsh", "fish", "csh", "tcsh")
LONGEST_WORD = 1000
"""Bytes of a word that an old csh takes."""

PROGRAM = pack_program("builtins:print", ["hello", 'a "quoted" $word', "back\\slash and `tick`!"])
PRINTED = b'hello a "quoted" $word back\\slash and `tick`!\n'
PYTHON = str(Path(sys.executable).resolve())


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_takes_it_for_what_it_is(shell: str, tmp_path: Path) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"needs the shell {shell}")
    done = subprocess.run(
        [path, "-c", remote_command_line(PYTHON, PROGRAM)],
        input=PROGRAM.block,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, PRINTED, b"")


def test_it_holds_nothing_that_shells_take_differently() -> None:
    line = remote_command_line(None, PROGRAM)
    before, single, after = line.split("'", 2)[0], line.split("'")[1], line.split("'", 2)[2]
    assert before == "exec sh -c "
    assert not set("!\\\n") & set(single)
    words = after.split('"')
    assert all(not between.strip() for between in words[::2])
    for word in words[1::2]:
        assert not set("$`!\\\n") & set(word), word
    assert max(map(len, [single, *words])) < LONGEST_WORD


def test_the_first_stage_has_no_quotes_but_single_ones() -> None:
    for line in (BOOT, *STAGE):
        assert line.isascii()
        assert line.isprintable()


def test_the_user_s_ssh_command_comes_first_and_the_host_is_no_option() -> None:
    remote = RemoteEnd("me@host", ("ssh", "-p", "2222"))
    arguments = ssh_arguments(remote, PROGRAM)
    assert arguments[:3] == ["ssh", "-p", "2222"]
    assert arguments[-3:-1] == ["--", "me@host"]
    assert arguments[-1] == remote_command_line(None, PROGRAM)
    assert "-T" in arguments
